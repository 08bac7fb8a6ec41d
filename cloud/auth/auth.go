// Package auth makes and checks API keys. A key is sp_<id>_<secret>; the catalog
// has the SHA-256 of its secret only, which is enough for a secret of 256 random
// bits. The same keys open the API and the bus.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/speedscale/speedscale/agents/broker"
	"github.com/speedscale/speedscale/agents/bus"
	"github.com/speedscale/speedscale/cloud/catalog"
)

// Scopes of keys. None includes another.
const (
	ScopeIngest  = "ingest"  // send pairs and telemetry, ask for the masking rules
	ScopeControl = "control" // run replays, put reports, take commands for a cluster, ask for the masking rules
	ScopeRead    = "read"    // read pairs, snapshots, reports and telemetry
	ScopeAdmin   = "admin"   // change snapshots, settings and keys
)

// ScopeReplay is that of a replay's token, and of nothing else: it is for calls about
// that replay (catalog.Key.Replay), and does not open the bus.
const ScopeReplay = "replay"

// AllScopes are the scopes of the first key of a cloud.
func AllScopes() []string { return []string{ScopeIngest, ScopeControl, ScopeRead, ScopeAdmin} }

// Errors that Check's errors wrap. None of them, nor their text, holds any of the
// key's secret.
var (
	// ErrUnauthenticated: no key, not a key, or one that is not valid any more.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrDenied: a valid key without a scope that is needed.
	ErrDenied = errors.New("permission denied")
)

const (
	prefix      = "sp_"
	idBytes     = 6
	secretBytes = 32
)

// Keyring are the keys in a catalog. It is safe for concurrent use.
type Keyring struct {
	cat *catalog.Catalog
	log *slog.Logger
	now func() time.Time
}

// NewKeyring returns the keys in a catalog.
func NewKeyring(cat *catalog.Catalog, log *slog.Logger) *Keyring {
	return &Keyring{cat: cat, log: log, now: time.Now}
}

// Create makes a key, which is returned this once. expires is in Unix seconds; 0
// is never.
func (k *Keyring) Create(ctx context.Context, name string, scopes []string, expires int64) (id, key string, err error) {
	if len(scopes) == 0 {
		return "", "", fmt.Errorf("scopes are empty: give some of %s", strings.Join(AllScopes(), ", "))
	}
	for _, s := range scopes {
		if !slices.Contains(AllScopes(), s) {
			return "", "", fmt.Errorf("scope %q is not one of %s", s, strings.Join(AllScopes(), ", "))
		}
	}
	if len(name) > 200 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return "", "", errors.New("name is longer than 200 bytes or has control characters")
	}
	if expires != 0 && expires <= k.now().Unix() {
		return "", "", fmt.Errorf("expires %s is over", time.Unix(expires, 0).UTC().Format(time.RFC3339))
	}
	key = NewKey()
	id, secret, _ := parse(key)
	hash := sha256.Sum256([]byte(secret))
	entry := catalog.Key{ID: id, Name: name, Hash: hash[:], Scopes: scopes, Created: k.now().Unix(), Expires: expires}
	if err := k.cat.PutKey(ctx, entry); err != nil {
		return "", "", fmt.Errorf("store key: %w", err)
	}
	return id, key, nil
}

// NewToken makes the token of a replay, which is good once its entry is stored, and
// until a time.
func (k *Keyring) NewToken(replay string, expires time.Time) (entry catalog.Key, token string) {
	token = NewKey()
	id, secret, _ := parse(token)
	hash := sha256.Sum256([]byte(secret))
	return catalog.Key{
		ID: id, Name: "replay " + replay, Hash: hash[:], Scopes: []string{ScopeReplay},
		Created: k.now().Unix(), Expires: expires.Unix(), Replay: replay,
	}, token
}

// Check returns the entry of a key that has at least one of the scopes.
func (k *Keyring) Check(ctx context.Context, key string, scopes ...string) (catalog.Key, error) {
	if key == "" {
		return catalog.Key{}, fmt.Errorf("%w: no API key was given", ErrUnauthenticated)
	}
	id, secret, ok := parse(key)
	if !ok {
		return catalog.Key{}, fmt.Errorf("%w: what was given is not an API key (%s<id>_<secret>)", ErrUnauthenticated, prefix)
	}
	hash := sha256.Sum256([]byte(secret))
	entry, err := k.cat.Key(ctx, id)
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return catalog.Key{}, fmt.Errorf("look up API key: %w", err)
	}
	// An unknown id and a wrong secret look alike.
	if err != nil || subtle.ConstantTimeCompare(hash[:], entry.Hash) != 1 {
		return catalog.Key{}, fmt.Errorf("%w: the API key is not known here; it may have been revoked", ErrUnauthenticated)
	}
	now := k.now().Unix()
	if entry.Expires != 0 && entry.Expires <= now {
		return catalog.Key{}, fmt.Errorf("%w: the API key %q expired at %s", ErrUnauthenticated, entry.ID,
			time.Unix(entry.Expires, 0).UTC().Format(time.RFC3339))
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(entry.Scopes, s) }) {
		return catalog.Key{}, fmt.Errorf("%w: the API key %q has the scope %s, and this needs %s", ErrDenied, entry.ID,
			strings.Join(entry.Scopes, ", "), strings.Join(scopes, " or "))
	}
	if now-entry.LastUsed >= 60 { // a write for each call would be too many
		if err := k.cat.UsedKey(ctx, id, now); err != nil {
			k.log.Warn("when an API key was used cannot be noted", "key", id, "error", err)
		}
	}
	return entry, nil
}

// BusName is what the bus calls the clients of a key.
func BusName(keyID string) string { return "key-" + keyID }

// checkTimeout bounds the look-up of a key for the bus, which gives no context.
const checkTimeout = 10 * time.Second

// Bus says what the bearer of a key may do on the bus (broker.Options.Authenticate).
func (k *Keyring) Bus(key string) (broker.Permissions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	entry, err := k.Check(ctx, key, ScopeIngest, ScopeControl)
	if err != nil {
		return broker.Permissions{}, err
	}
	p := broker.Permissions{Name: BusName(entry.ID), Publish: []string{bus.ControlMasking}}
	if slices.Contains(entry.Scopes, ScopeIngest) {
		p.Publish = append(p.Publish, bus.IngestPairs+">", bus.ClusterTelemetries(entry.ID))
	}
	if slices.Contains(entry.Scopes, ScopeControl) {
		p.Subscribe, p.AllowResponses = bus.ClusterSubjects(entry.ID), true
	}
	if entry.Expires != 0 {
		p.Expires = time.Unix(entry.Expires, 0)
	}
	return p, nil
}
