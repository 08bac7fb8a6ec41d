package traffic

import (
	"fmt"
	"strings"

	"github.com/speedscale/speedscale/traffic/jsonscan"
)

// UnmarshalJSON reads the documented form of a pair, and what older or other
// writers make of it: fields that are not known are passed over, a header field
// may be one value instead of a list, a body may be plain text under "body",
// numbers may be in quotes, and "meta" may stand for "tags". A pair of another
// protocol than HTTP is read without its protocol's section. Errors name the
// field and the byte.
func (p *RRPair) UnmarshalJSON(b []byte) error {
	p.Reset()
	r := jsonReader{b: b}
	if err := r.pair(p); err != nil {
		return fmt.Errorf("rrpair: %w", err)
	}
	if end := jsonscan.Space(b, r.pos); end < len(b) {
		return fmt.Errorf("rrpair: byte %d: more follows after the pair", end)
	}
	return nil
}

func (r *jsonReader) pair(p *RRPair) error {
	return r.object(func(key []byte) (err error) {
		switch string(key) {
		case "msgType":
			var kind string
			if kind, err = r.text(); err == nil && kind != "rrpair" && kind != "" {
				err = fmt.Errorf("is %q, not rrpair", bounded(kind))
			}
		case "uuid":
			p.Uuid, err = r.uuid()
		case "ts":
			p.Ts, err = r.time()
		case "duration":
			p.Duration, err = r.millis()
		case "direction":
			p.Direction, err = r.direction()
		case "tags":
			err = r.tags(p)
		case "meta":
			if p.Tags == nil {
				return r.tags(p)
			}
			return r.skip()
		case "detectedTech":
			p.DetectedTech, err = r.texts()
		case "http":
			p.Http = &HTTP{}
			err = r.http(p.Http)
		case "signature":
			err = r.signature(p)
		case "netinfo":
			p.Netinfo = &NetInfo{}
			err = r.netInfo(p.Netinfo)
		case "partOfStreamUUID":
			p.PartOfStreamUuid, err = r.uuid()
		case "streamSeqNum":
			p.StreamSeqNum, err = integer[uint32](r)
		case "dlpModified":
			p.DlpModified, err = r.bool()
		case "wireformatSize":
			p.WireformatSize, err = integer[int64](r)
		default:
			field := p.textField(key)
			if field == nil {
				return r.skip()
			}
			*field, err = r.text()
		}
		return err
	})
}

func (p *RRPair) textField(key []byte) *string {
	switch string(key) {
	case "cluster":
		return &p.Cluster
	case "namespace":
		return &p.Namespace
	case "service":
		return &p.Service
	case "resource":
		return &p.Resource
	case "l7protocol":
		return &p.L7Protocol
	case "tech":
		return &p.Tech
	case "command":
		return &p.Command
	case "location":
		return &p.Location
	case "status":
		return &p.Status
	case "network_address":
		return &p.NetworkAddress
	case "session":
		return &p.Session
	case "dlpRule":
		return &p.DlpRule
	case "maskKeyId":
		return &p.MaskKeyId
	}
	return nil
}

func (r *jsonReader) direction() (Direction, error) {
	s, err := r.text()
	switch {
	case err != nil:
		return 0, err
	case strings.EqualFold(s, "IN"):
		return Direction_DIRECTION_IN, nil
	case strings.EqualFold(s, "OUT"):
		return Direction_DIRECTION_OUT, nil
	case s == "":
		return Direction_DIRECTION_UNSPECIFIED, nil
	}
	return 0, fmt.Errorf("is %q, not IN or OUT", bounded(s))
}

func (r *jsonReader) tags(p *RRPair) error {
	return r.object(func(key []byte) error {
		v, err := r.text()
		if p.Tags == nil {
			p.Tags = make(map[string]string)
		}
		p.Tags[validUTF8(string(key))] = v
		return err
	})
}

func (r *jsonReader) signature(p *RRPair) error {
	return r.object(func(key []byte) error {
		v, err := r.base64()
		if p.Signature == nil {
			p.Signature = make(map[string][]byte)
		}
		p.Signature[validUTF8(string(key))] = v
		return err
	})
}

func (r *jsonReader) http(h *HTTP) error {
	return r.object(func(key []byte) error {
		switch string(key) {
		case "req":
			h.Req = &HTTPRequest{}
			return r.request(h.Req)
		case "res":
			h.Res = &HTTPResponse{}
			return r.response(h.Res)
		}
		return r.skip()
	})
}

func (r *jsonReader) request(q *HTTPRequest) error {
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "url":
			q.Url, err = r.text()
		case "uri":
			q.Uri, err = r.text()
		case "version":
			q.Version, err = r.text()
		case "method":
			q.Method, err = r.text()
		case "host":
			q.Host, err = r.text()
		case "headers":
			q.Headers, err = r.headers()
		case "trailers":
			q.Trailers, err = r.headers()
		default:
			err = r.bodyField(key, &q.Body, &q.BodySize)
		}
		return err
	})
	q.BodySize = max(q.BodySize, int64(len(q.Body)))
	return err
}

func (r *jsonReader) response(s *HTTPResponse) error {
	err := r.object(func(key []byte) (err error) {
		switch string(key) {
		case "contentType":
			s.ContentType, err = r.text()
		case "statusCode":
			s.StatusCode, err = integer[int32](r)
		case "statusMessage":
			s.StatusMessage, err = r.text()
		case "version":
			s.Version, err = r.text()
		case "headers":
			s.Headers, err = r.headers()
		case "trailers":
			s.Trailers, err = r.headers()
		default:
			err = r.bodyField(key, &s.Body, &s.BodySize)
		}
		return err
	})
	s.BodySize = max(s.BodySize, int64(len(s.Body)))
	return err
}

// bodyField reads bodyBase64 or, where that is missing, body.
func (r *jsonReader) bodyField(key []byte, body *[]byte, size *int64) (err error) {
	switch string(key) {
	case "bodyBase64":
		*body, err = r.base64()
		return err
	case "body":
		text, err := r.text()
		if len(*body) == 0 && text != "" {
			*body = []byte(text)
		}
		return err
	case "bodySize":
		*size, err = integer[int64](r)
		return err
	}
	return r.skip()
}

func (r *jsonReader) headers() (list []*Header, err error) {
	err = r.object(func(key []byte) error {
		name := validUTF8(string(key))
		values, err := r.texts()
		for _, v := range values {
			list = append(list, &Header{Name: name, Value: v})
		}
		return err
	})
	return list, err
}

func (r *jsonReader) netInfo(n *NetInfo) error {
	return r.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			n.Id, err = r.text()
		case "startTime":
			n.StartTime, err = r.time()
		case "downstream":
			n.Downstream = &Endpoint{}
			err = r.endpoint(n.Downstream)
		case "upstream":
			n.Upstream = &Endpoint{}
			err = r.endpoint(n.Upstream)
		default:
			return r.skip()
		}
		return err
	})
}

func (r *jsonReader) endpoint(e *Endpoint) error {
	return r.object(func(key []byte) (err error) {
		switch string(key) {
		case "established":
			e.Established, err = r.time()
		case "ipAddress":
			e.IpAddress, err = r.text()
		case "port":
			e.Port, err = integer[uint32](r)
		case "hostname":
			e.Hostname, err = r.text()
		case "bytesSent":
			e.BytesSent, err = integer[int64](r)
		default:
			return r.skip()
		}
		return err
	})
}
