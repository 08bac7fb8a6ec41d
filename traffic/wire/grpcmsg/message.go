// Package grpcmsg takes gRPC bodies apart: length-prefixed messages, and the
// protobuf fields of each, readable without a .proto.
package grpcmsg

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// prefixSize is the size of a message's prefix: a flag and a 32-bit length.
const prefixSize = 5

// ErrCut says that a body ends within a message.
var ErrCut = errors.New("gRPC body ends within a message")

// Message is one length-prefixed message of a body.
type Message struct {
	// Compressed says that Data is in the coding that grpc-encoding names.
	Compressed bool
	// Data is the message as sent.
	Data []byte
}

// Split cuts a body into its messages, whose Data are parts of b. With an
// error it returns the messages before it.
func Split(b []byte) (messages []Message, err error) {
	for len(b) > 0 {
		if len(b) < prefixSize {
			return messages, fmt.Errorf("%w: %d bytes of a prefix of %d", ErrCut, len(b), prefixSize)
		}
		if b[0] > 1 {
			return messages, fmt.Errorf("gRPC message %d: compressed flag is %d, want 0 or 1", len(messages)+1, b[0])
		}
		n := uint64(binary.BigEndian.Uint32(b[1:]))
		if have := uint64(len(b) - prefixSize); have < n {
			return messages, fmt.Errorf("%w: message %d has %d bytes of %d", ErrCut, len(messages)+1, have, n)
		}
		end := prefixSize + int(n)
		messages = append(messages, Message{Compressed: b[0] == 1, Data: b[prefixSize:end:end]})
		b = b[end:]
	}
	return messages, nil
}
