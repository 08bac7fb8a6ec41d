package mask_test

import (
	"strings"
	"testing"

	"github.com/speedscale/speedscale/traffic/mask"
)

func TestTextMasksSecretsInALineOfALog(t *testing.T) {
	m, err := mask.New(mask.Standard(), mask.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	for line, secret := range map[string]string{
		`level=info msg="login" password=hunter2secret user=ann`:      "hunter2secret",
		`{"level":"info","apiKey":"k-123456789","path":"/orders"}`:    "k-123456789",
		`paid with 4111 1111 1111 1111 at once`:                       "4111 1111 1111 1111",
		`GET /orders?access_token=abcdef123456 HTTP/1.1`:              "abcdef123456",
		`Authorization: Bearer abc.def.ghi`:                           "abc.def.ghi",
		`mail to ann@example.com failed`:                              "ann@example.com",
		`dial postgres://shop:s3cretpassword@db:5432/orders: refused`: "s3cretpassword",
	} {
		masked := m.Text(line)
		if strings.Contains(masked, secret) || masked == line {
			t.Errorf("%q became %q", line, masked)
		}
		if again := m.Text(masked); again != masked {
			t.Errorf("%q became %q the second time", masked, again)
		}
	}
	const plain = "GET /orders/17 200 in 12ms"
	if got := m.Text(plain); got != plain {
		t.Errorf("%q became %q", plain, got)
	}
}
