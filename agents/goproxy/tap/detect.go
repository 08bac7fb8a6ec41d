package tap

import (
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http1"
	"github.com/speedscale/speedscale/traffic/wire/http2"
	"github.com/speedscale/speedscale/traffic/wire/sniff"
)

// decoderFor finds the decoder for a connection by the first bytes of its
// client. Without one it says why none will be found, or nothing where more
// bytes are needed.
func decoderFor(head []byte, o wire.Options) (wire.Decoder, string) {
	kind, enough := sniff.Protocol(head)
	switch {
	case !enough:
		return nil, ""
	case kind == sniff.HTTP1:
		return http1.New(o), ""
	case kind == sniff.HTTP2:
		return http2.New(o), ""
	case kind == sniff.TLS:
		return nil, traffic.ReasonOpaqueTLS
	default:
		return nil, traffic.ReasonUnknown
	}
}
