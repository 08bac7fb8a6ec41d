package archive

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/speedscale/speedscale/cloud/catalog"
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
	row       row
	direction traffic.Direction
	ofReplay  bool
}

// Decoder makes Pairs of encoded records. It is not safe for concurrent use.
type Decoder struct {
	pair    traffic.RRPair
	strings map[string]string
}

// maxStrings bounds how many distinct column values a Decoder shares.
const maxStrings = 4096

// Decode checks an encoded traffic.RRPair as a whole, so that whatever is in the
// archive can be read, and takes its columns. number is the pair's in its
// producer. The Pair refers to the record's bytes.
func (d *Decoder) Decode(b []byte, producer string, batch, number uint64) (Pair, error) {
	p := &d.pair
	if err := proto.Unmarshal(b, p); err != nil {
		return Pair{}, fmt.Errorf("record: %w", err)
	}
	if d.strings == nil || len(d.strings) > maxStrings {
		d.strings = make(map[string]string)
	}
	k := key{
		TS: p.Ts, Duration: p.Duration, Direction: directionName(p.Direction),
		Cluster: d.share(p.Cluster), Namespace: d.share(p.Namespace), Service: d.share(p.Service),
		L7Protocol: d.share(p.L7Protocol), Tech: d.share(p.Tech),
		Command: d.share(p.Command), Location: d.share(p.Location), Status: d.share(p.Status),
		NetworkAddress: d.share(p.NetworkAddress), Host: d.share(p.GetHttp().GetReq().GetHost()),
		Session: d.share(p.Session), Producer: producer, Batch: int64(batch), Pair: int64(number),
	}
	copy(k.UUID[:], p.Uuid)
	return Pair{row: row{key: k, Record: b}, direction: p.Direction, ofReplay: p.Tags[traffic.TagReplay] != ""}, nil
}

// OfReplay says that the pair was seen in a replay, and so is not live traffic.
func (p *Pair) OfReplay() bool { return p.ofReplay }

// Loss counts the pair as one that is not kept.
func (p *Pair) Loss(reason string) catalog.Loss {
	k := &p.row.key
	return catalog.Loss{
		Producer: k.Producer, Reason: reason, Service: k.Service, Namespace: k.Namespace, Direction: p.direction,
		From: k.TS, To: k.TS, Pairs: 1, Bytes: uint64(len(p.row.Record)),
	}
}

// Record is the pair, encoded. It must not be changed.
func (p *Pair) Record() []byte { return p.row.Record }

// TS is the pair's time, in Unix nanoseconds.
func (p *Pair) TS() int64 { return p.row.TS }

// share returns an equal string that others share, since most columns have few
// different values and a segment's worth of pairs waits in memory.
func (d *Decoder) share(s string) string {
	if s == "" {
		return ""
	}
	if known, ok := d.strings[s]; ok {
		return known
	}
	d.strings[s] = s
	return s
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
