package generator

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/speedscale/speedscale/agents/replay"
	"github.com/speedscale/speedscale/traffic"
)

// transport sends requests of HTTP/2, over TLS or with prior knowledge (RFC 9113,
// section 3.3), and of gRPC, which are HTTP/2 requests whose bodies are sent as
// recorded. All workers share it and its connections.
type transport struct {
	http    *http.Transport
	maxBody int64
}

func newTransport(opts *Options) *transport {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &transport{
		http: &http.Transport{
			DialContext:        opts.Dial,
			TLSClientConfig:    opts.TLS.Clone(),
			Protocols:          &protocols,
			DisableCompression: true, // the recorded Accept-Encoding stands
		},
		maxBody: int64(opts.MaxBody),
	}
}

func (t *transport) close() { t.http.CloseIdleConnections() }

// exchange sends a request and reads the response.
func (t *transport) exchange(ctx context.Context, req *request) (*traffic.HTTPResponse, error) {
	out := req.http2.WithContext(ctx)
	if body := req.body; len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	res, err := t.http.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, t.maxBody))
	if err != nil {
		return nil, err
	}
	rest, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		return nil, err
	}
	return &traffic.HTTPResponse{
		Version:     "2.0",
		StatusCode:  int32(res.StatusCode),
		ContentType: res.Header.Get("Content-Type"),
		Headers:     replay.Fields(res.Header, true),
		Trailers:    replay.Fields(res.Trailer, true),
		Body:        body,
		BodySize:    int64(len(body)) + rest,
	}, nil
}
