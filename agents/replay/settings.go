package replay

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/speedscale/speedscale/agents/agent"
	"github.com/speedscale/speedscale/traffic/mask"
	"github.com/speedscale/speedscale/traffic/snapshot"
	"github.com/speedscale/speedscale/traffic/testconfig"
	"github.com/speedscale/speedscale/traffic/transform"
)

// Settings are what both binaries read from their environment.
type Settings struct {
	// Cloud has the snapshot; nil where it is in a folder already. Member.Load sets
	// Snapshot, Masker and KeyMissing then.
	Cloud    *Cloud
	Snapshot *snapshot.Snapshot
	// Masker masks as the snapshot was masked; nil where it was not, or where
	// its key is not at hand.
	Masker *mask.Masker
	// KeyMissing says that the snapshot is masked and its key is not at hand.
	KeyMissing bool
	// Blind masks by a key of its own, so that values are equal to no recorded ones,
	// what goes to the cloud while KeyMissing.
	Blind *mask.Masker
	// Keys choose slices.
	Keys []string
	// Config is the test config; nil without one.
	Config *testconfig.Config
	// Secrets is the folder of the secrets that transforms name.
	Secrets string
	// Roots verify TLS; nil means the system's.
	Roots *x509.CertPool
	// HealthListen and MetricsListen are host:port; empty leaves one out.
	HealthListen, MetricsListen string
}

// ReadSettings reads them; what is wrong is noted in v.
//
//	SNAPSHOT_ID            the snapshot, which comes from the cloud; without it, it is in SNAPSHOT_DIR
//	SNAPSHOT_DIR           the snapshot's folder; with SNAPSHOT_ID, the folder that it is put into
//	SNAPSHOT_KEYS          slices (service:host:port) between commas; all without it
//	MASKING_KEY_FILE       the secret of the snapshot's masking key, in hexadecimal
//	TEST_CONFIG            a test config, as JSON
//	SECRETS_DIR            /home/speedscale/secret: the secrets that its transforms name, NAME/KEY
//	SPEEDSCALE_APP_URL     with SNAPSHOT_ID: the cloud, https://HOST; SPEEDSCALE_APP_CA a PEM file that verifies it
//	SPEEDSCALE_API_KEY     with SNAPSHOT_ID: the replay's token
//	REPLAY_ID, COMPONENT   with SNAPSHOT_ID: the report's id, and the name of the pod's part of it
//	UPSTREAM_CA_FILE       PEM roots beside the system's
//	HEALTH_HTTP_PORT       4144; METRICS_HTTP_ENABLE true; METRICS_HTTP_PORT 4145
func ReadSettings(v *agent.Vars) Settings {
	s := Settings{Keys: v.List("SNAPSHOT_KEYS"), Secrets: v.String("SECRETS_DIR", transform.SecretsHome), HealthListen: port(v, "HEALTH_HTTP_PORT", 4144)}
	if v.Bool("METRICS_HTTP_ENABLE", true) {
		s.MetricsListen = port(v, "METRICS_HTTP_PORT", 4145)
	}
	s.readRoots(v)
	s.readConfig(v)
	if id := v.String("SNAPSHOT_ID", ""); id != "" {
		s.Cloud = readCloud(v, id)
		return s
	}
	dir := v.String("SNAPSHOT_DIR", "")
	if dir == "" {
		v.Missing("SNAPSHOT_DIR", "it says which snapshot is replayed")
		return s
	}
	var err error
	if s.Snapshot, err = snapshot.Open(dir); err != nil {
		v.Fail("SNAPSHOT_DIR", dir, err.Error())
		return s
	}
	s.readMasking(v)
	return s
}

func port(v *agent.Vars, name string, def int) string {
	return net.JoinHostPort("", fmt.Sprint(v.Port(name, def)))
}

func (s *Settings) readMasking(v *agent.Vars) {
	masking := s.Snapshot.Meta().Masking
	file := v.String("MASKING_KEY_FILE", "")
	if masking == nil {
		return
	}
	if file == "" {
		s.KeyMissing = true
		return
	}
	var err error
	if s.Masker, err = maskerOf(masking, file); err != nil {
		v.Fail("MASKING_KEY_FILE", file, err.Error())
	}
}

func maskerOf(masking *snapshot.Masking, keyFile string) (*mask.Masker, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errors.New("want the key's secret in hexadecimal") // the error would quote the secret
	}
	return newMasker(masking, mask.Key{ID: masking.KeyID, Secret: secret})
}

// newMasker masks as a snapshot was masked.
func newMasker(masking *snapshot.Masking, key mask.Key) (*mask.Masker, error) {
	cfg, err := mask.ParseConfig(masking.Config)
	if err != nil {
		return nil, fmt.Errorf("the snapshot's %w", err)
	}
	return mask.New(cfg, key)
}

func (s *Settings) readConfig(v *agent.Vars) {
	text := v.String("TEST_CONFIG", "")
	if text == "" {
		return
	}
	c, err := testconfig.Parse([]byte(text))
	if err != nil {
		v.Fail("TEST_CONFIG", "…", err.Error())
		return
	}
	s.Config = &c
}

func (s *Settings) readRoots(v *agent.Vars) {
	file := v.String("UPSTREAM_CA_FILE", "")
	if file == "" {
		return
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		v.Fail("UPSTREAM_CA_FILE", file, err.Error())
		return
	}
	if s.Roots, err = x509.SystemCertPool(); err != nil {
		s.Roots = x509.NewCertPool()
	}
	if !s.Roots.AppendCertsFromPEM(pem) {
		v.Fail("UPSTREAM_CA_FILE", file, "want certificates in PEM form")
	}
}
