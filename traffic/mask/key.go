package mask

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"log/slog"
)

// Key hashes what is masked. Printing, logging or marshalling it, in any form,
// shows the ID only.
type Key struct {
	// ID names the key in RRPair.mask_key_id.
	ID string
	// Secret is at least 16 bytes.
	Secret []byte
}

// minSecret is the shortest secret that New takes, in bytes.
const minSecret = 16

// NewKey returns a random key of 32 bytes with a random id.
func NewKey() Key {
	b := make([]byte, 8+32)
	rand.Read(b) // crypto/rand.Read never fails
	return Key{ID: hex.EncodeToString(b[:8]), Secret: b[8:]}
}

// Format prints the ID for every verb, so that no verb shows the secret.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "mask key %q", k.ID) }

// String returns the ID.
func (k Key) String() string { return fmt.Sprint(k) }

// GoString returns the ID.
func (k Key) GoString() string { return fmt.Sprint(k) }

// LogValue returns the ID.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.ID) }

// MarshalJSON writes the ID alone.
func (k Key) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID string `json:"id"`
	}{k.ID})
}

// mac returns a maker of keyed hashes. The secret stays inside the closure, where
// no printing reaches it.
func (k Key) mac() func() hash.Hash {
	secret := append([]byte(nil), k.Secret...)
	return func() hash.Hash { return hmac.New(sha256.New, secret) }
}
