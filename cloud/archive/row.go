package archive

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/speedscale/speedscale/traffic"
)

// row is a pair in a segment: columns to select by, and the whole record. Readers
// outside this program see exactly these columns.
type row struct {
	key
	Record []byte `parquet:"record"`
}

// key is what selects a pair without decoding its record.
type key struct {
	// TS is when the request began; Duration is in nanoseconds.
	TS             int64  `parquet:"ts,delta,timestamp(nanosecond)"`
	Duration       int64  `parquet:"duration,delta"`
	Direction      string `parquet:"direction,dict"`
	Cluster        string `parquet:"cluster,dict"`
	Namespace      string `parquet:"namespace,dict"`
	Service        string `parquet:"service,dict"`
	L7Protocol     string `parquet:"l7protocol,dict"`
	Tech           string `parquet:"tech,dict"`
	Command        string `parquet:"command,dict"`
	Location       string `parquet:"location,dict"`
	Status         string `parquet:"status,dict"`
	NetworkAddress string `parquet:"network_address,dict"`
	Host           string `parquet:"host,dict"`
	Session        string `parquet:"session,dict"`
	// UUID is 16 bytes.
	UUID [16]byte `parquet:"uuid,uuid"`
	// Producer and Batch say which batch brought the pair. Pair is its number
	// in the producer, which is exact where no hop filtered the batch, and
	// unique always.
	Producer string `parquet:"producer,dict"`
	Batch    int64  `parquet:"batch,delta"`
	Pair     int64  `parquet:"pair,delta"`
}

// Pair is an encoded traffic.RRPair on its way into a segment.
type Pair struct {
	// TS is the time of the pair, in Unix nanoseconds.
	TS int64
	// Record is the pair in protobuf.
	Record   []byte
	Producer string
	// Batch is the batch's sequence, Number the pair's number in its producer.
	Batch, Number uint64
}

// Time reads the time of an encoded pair, and with it checks that the record is
// well formed at its outermost level.
func Time(record []byte) (ts int64, err error) {
	err = fields(record, func(num protowire.Number, v uint64, _ []byte) {
		if num == tsField {
			ts = int64(v)
		}
	})
	return ts, err
}

// Numbers of fields in rrpair.proto.
const (
	uuidField           = 1
	tsField             = 2
	durationField       = 3
	directionField      = 4
	clusterField        = 5
	namespaceField      = 6
	serviceField        = 7
	l7protocolField     = 9
	techField           = 10
	commandField        = 12
	locationField       = 13
	statusField         = 14
	networkAddressField = 15
	httpField           = 16
	sessionField        = 21
	httpReqField        = 1
	reqHostField        = 5
)

// fill sets the columns from an encoded pair. It reads the wire format itself: at
// the rate of ingest, decoding whole pairs only to have their heads would be
// most of the work.
func (r *row) fill(p Pair) error {
	*r = row{Record: p.Record}
	r.Producer, r.Batch, r.Pair = p.Producer, int64(min(p.Batch, math.MaxInt64)), int64(min(p.Number, math.MaxInt64))
	return fields(p.Record, func(num protowire.Number, v uint64, b []byte) {
		switch num {
		case uuidField:
			copy(r.UUID[:], b)
		case tsField:
			r.TS = int64(v)
		case durationField:
			r.Duration = int64(v)
		case directionField:
			r.Direction = directionName(traffic.Direction(v))
		case clusterField:
			r.Cluster = string(b)
		case namespaceField:
			r.Namespace = string(b)
		case serviceField:
			r.Service = string(b)
		case l7protocolField:
			r.L7Protocol = string(b)
		case techField:
			r.Tech = string(b)
		case commandField:
			r.Command = string(b)
		case locationField:
			r.Location = string(b)
		case statusField:
			r.Status = string(b)
		case networkAddressField:
			r.NetworkAddress = string(b)
		case sessionField:
			r.Session = string(b)
		case httpField:
			r.Host = hostOf(b)
		}
	})
}

func directionName(d traffic.Direction) string {
	switch d {
	case traffic.Direction_DIRECTION_IN:
		return "IN"
	case traffic.Direction_DIRECTION_OUT:
		return "OUT"
	}
	return ""
}

// hostOf returns the host of an encoded traffic.HTTP; empty where it has none.
func hostOf(http []byte) (host string) {
	fields(http, func(num protowire.Number, _ uint64, req []byte) {
		if num == httpReqField {
			fields(req, func(num protowire.Number, _ uint64, b []byte) {
				if num == reqHostField {
					host = string(b)
				}
			})
		}
	})
	return host
}

// fields calls f with each field of an encoded message: v has the value of a
// varint, b that of bytes, strings and messages.
func fields(b []byte, f func(num protowire.Number, v uint64, b []byte)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("record is not well formed: %w", protowire.ParseError(n))
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("record is not well formed: field %d: %w", num, protowire.ParseError(n))
		}
		f(num, v, data)
		b = b[n:]
	}
	return nil
}
