package mask

import (
	"errors"
	"fmt"

	"github.com/speedscale/speedscale/traffic/wire/body"
)

// maxDecoded bounds what a body may decode to, in bytes: four times the most
// that is kept of one.
const maxDecoded = 32 << 20

// decode undoes content codings. Its errors hold nothing of the headers.
func decode(encoding string, b []byte) ([]byte, error) {
	plain, err := body.Decode(encoding, b, maxDecoded)
	switch {
	case errors.Is(err, body.ErrTooLarge):
		return nil, notUnderstood(fmt.Sprintf("it decodes to more than %d bytes", maxDecoded))
	case errors.Is(err, body.ErrUnsupported):
		return nil, notUnderstood("its coding is not known")
	case err != nil:
		return nil, notUnderstood("it does not decode")
	}
	return plain, nil
}
