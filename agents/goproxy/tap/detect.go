package tap

import (
	"github.com/speedscale/speedscale/traffic"
	"github.com/speedscale/speedscale/traffic/wire"
	"github.com/speedscale/speedscale/traffic/wire/http1"
)

// decoderFor finds the decoder for a connection by the first bytes of its
// client. Without one it says why none will be found, or nothing where more
// bytes are needed.
func decoderFor(head []byte, o wire.Options) (wire.Decoder, string) {
	if len(head) > 0 && head[0] == 0x16 {
		return nil, traffic.ReasonOpaqueTLS
	}
	return http1.New(o), ""
}
