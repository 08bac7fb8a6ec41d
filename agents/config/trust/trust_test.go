package trust_test

import (
	"strings"
	"testing"

	"github.com/speedscale/speedscale/agents/config/trust"
)

func TestEnv(t *testing.T) {
	const usual = "/etc/ssl/certs:/etc/pki/tls/certs:/usr/lib/ssl/certs"
	for _, c := range []struct {
		name    string
		present []string
		want    string
	}{
		{"nothing set", []string{"HOME=/"},
			"SSL_CERT_DIR=" + usual + ":/t/certs NODE_EXTRA_CA_CERTS=/t/ca.crt REQUESTS_CA_BUNDLE=/t/bundle.crt GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/t/bundle.crt"},
		{"own values", []string{"SSL_CERT_DIR=/own", "NODE_EXTRA_CA_CERTS=/own.pem", "REQUESTS_CA_BUNDLE=/own.pem", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/own.pem"},
			"SSL_CERT_DIR=/own:/t/certs"},
		{"requests by curl's variable", []string{"CURL_CA_BUNDLE=/own.pem", "NODE_EXTRA_CA_CERTS="},
			"SSL_CERT_DIR=" + usual + ":/t/certs NODE_EXTRA_CA_CERTS=/t/ca.crt GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/t/bundle.crt"},
		{"the system's roots", []string{"CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt", "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/own.pem"},
			"SSL_CERT_DIR=" + usual + ":/t/certs CURL_CA_BUNDLE=/t/bundle.crt NODE_EXTRA_CA_CERTS=/t/bundle.crt REQUESTS_CA_BUNDLE=/t/bundle.crt"},
		{"set before by us", []string{"SSL_CERT_DIR=/own:/t/certs", "NODE_EXTRA_CA_CERTS=/t/ca.crt", "REQUESTS_CA_BUNDLE=/t/bundle.crt", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/t/bundle.crt"}, ""},
	} {
		if got := strings.Join(trust.Env("/t", c.present), " "); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}
