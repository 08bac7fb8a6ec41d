package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/speedscale/speedscale/cloud/catalog"
)

// declared begins the names of keys that a folder declares.
const declared = "declared:"

// declarable are the files of such a folder, and what their keys may do.
func declarable() map[string][]string {
	return map[string][]string{"admin": AllScopes(), "operator": {ScopeIngest, ScopeControl}}
}

// NewKey returns a key that no keyring has: whoever installs a cloud makes its
// first ones, and gives them to Declare.
func NewKey() string {
	b := make([]byte, idBytes+secretBytes)
	rand.Read(b) // crypto/rand.Read never fails
	return prefix + hex.EncodeToString(b[:idBytes]) + "_" + hex.EncodeToString(b[idBytes:])
}

// parse splits a key into its id and its secret.
func parse(key string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	id, secret, ok2 := strings.Cut(rest, "_")
	return id, secret, ok && ok2 && isHex(id, idBytes) && isHex(secret, secretBytes)
}

func isHex(s string, bytes int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == bytes
}

// Declare makes the keys of a folder known: those in the file admin (all scopes)
// and in the file operator (ingest and control), such as a mounted Secret has. The
// folder decides: a key that was declared before and is there no more is revoked.
// Only hashes are kept. Errors do not quote a key.
func (k *Keyring) Declare(ctx context.Context, dir string) error {
	want := map[string]catalog.Key{}
	for name, scopes := range declarable() {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("declared keys: %w", err)
		}
		id, secret, ok := parse(strings.TrimSpace(string(data)))
		if !ok {
			return fmt.Errorf("declared keys: %q is not an API key: want %s, %d random bytes in hex, _, and %d more", filepath.Join(dir, name), prefix, idBytes, secretBytes)
		}
		hash := sha256.Sum256([]byte(secret))
		want[id] = catalog.Key{ID: id, Name: declared + name, Hash: hash[:], Scopes: scopes, Created: k.now().Unix()}
	}
	if len(want) == 0 {
		return fmt.Errorf("declared keys: %q has neither admin nor operator", dir)
	}
	known, err := k.cat.Keys(ctx)
	if err != nil {
		return err
	}
	for _, old := range known {
		switch key, ok := want[old.ID]; {
		case ok && slices.Equal(old.Hash, key.Hash) && old.Name == key.Name:
			delete(want, old.ID) // with its own history
		case ok || strings.HasPrefix(old.Name, declared):
			if err := k.cat.DeleteKey(ctx, old.ID); err != nil {
				return err
			}
			k.log.Info("declared API key revoked", "key", old.ID, "name", old.Name)
		}
	}
	for _, key := range want {
		if err := k.cat.PutKey(ctx, key); err != nil {
			return err
		}
		k.log.Info("declared API key known", "key", key.ID, "name", key.Name)
	}
	return nil
}
