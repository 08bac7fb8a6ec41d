package transform

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenLife is how long a token that is signed anew is good, as documented.
const tokenLife = 48 * time.Hour

// notBefore is the nbf of such a token, as documented.
var notBefore = time.Date(2015, 10, 10, 0, 0, 0, 0, time.UTC).Unix()

// signer signs JSON Web Tokens (RFC 7519) anew.
type signer struct {
	key    any
	method jwt.SigningMethod // what the key is for, where a token does not say
	kid    template
	claims map[string]template // those of their own name
	more   map[string]any
}

// newJWT signs a token anew, with iat now and exp in two days, and with the claims
// that are given. A token that is masked, or none, is replaced by one that has the
// given claims only.
func newJWT(o *options) step {
	s := &signer{claims: map[string]template{}, kid: o.template("kid", "")}
	s.readKey(o)
	for _, name := range []string{"iss", "aud", "sub"} {
		if t := o.template(name, ""); len(t) > 0 {
			s.claims[name] = t
		}
	}
	if text := o.text("claims", ""); text != "" {
		if err := json.Unmarshal([]byte(text), &s.more); err != nil {
			o.fail("claims", "want a JSON object")
		}
	}
	prefixes := []string{"Bearer "}
	if text := o.text("prefixes", ""); text != "" {
		prefixes = strings.Split(text, ",")
	}
	return maker(func(c *call, value string) (string, error) {
		prefix := ""
		for _, p := range prefixes {
			if len(value) >= len(p) && strings.EqualFold(value[:len(p)], p) {
				prefix, value = value[:len(p)], value[len(p):]
				break
			}
		}
		token, err := s.sign(c, value)
		return prefix + token, err
	})
}

// readKey reads the key from secretPath (NAME/KEY) or key.
func (s *signer) readKey(o *options) {
	path, inline := o.text("secretPath", ""), o.text("key", "")
	switch {
	case (path == "") == (inline == ""):
		o.fail("secretPath", "want either secretPath (NAME/KEY) or key")
		return
	case path != "":
		b, err := readSecret(path, o.env)
		if err != nil {
			o.fail("secretPath", err.Error())
			return
		}
		inline = string(b)
	default:
		t, err := parseTemplate(inline, o.env)
		if err != nil {
			o.fail("key", err.Error())
			return
		}
		inline = t.fill(&Vars{})
	}
	if o.env == nil {
		return
	}
	var err error
	if s.key, s.method, err = parseKey([]byte(inline)); err != nil {
		o.fail("secretPath", err.Error())
	}
}

// parseKey reads a private key in PEM form, or the bytes of an HMAC secret, without
// the line end that editors add. Errors have nothing of the key.
func parseKey(b []byte) (any, jwt.SigningMethod, error) {
	if !strings.Contains(string(b), "-----BEGIN ") {
		b = []byte(strings.TrimRight(string(b), "\r\n"))
		if len(b) == 0 {
			return nil, nil, failure("the key is empty")
		}
		return b, jwt.SigningMethodHS256, nil
	}
	if k, err := jwt.ParseRSAPrivateKeyFromPEM(b); err == nil {
		return k, jwt.SigningMethodRS256, nil
	}
	if k, err := jwt.ParseEdPrivateKeyFromPEM(b); err == nil {
		return k, jwt.SigningMethodEdDSA, nil
	}
	if k, err := jwt.ParseECPrivateKeyFromPEM(b); err == nil {
		method := map[int]jwt.SigningMethod{256: jwt.SigningMethodES256, 384: jwt.SigningMethodES384, 521: jwt.SigningMethodES512}[k.Params().BitSize]
		if method != nil {
			return k, method, nil
		}
	}
	return nil, nil, failure("the key is no private key for RS, PS, ES or EdDSA in PEM form")
}

// fits says whether a key can sign by a method.
func fits(method jwt.SigningMethod, key any) bool {
	switch key := key.(type) {
	case []byte:
		_, ok := method.(*jwt.SigningMethodHMAC)
		return ok
	case *rsa.PrivateKey:
		_, ok := method.(*jwt.SigningMethodRSA)
		_, pss := method.(*jwt.SigningMethodRSAPSS)
		return ok || pss
	case *ecdsa.PrivateKey:
		m, ok := method.(*jwt.SigningMethodECDSA)
		return ok && m.CurveBits == key.Params().BitSize
	case ed25519.PrivateKey, crypto.Signer:
		return method == jwt.SigningMethodEdDSA
	}
	return false
}

func (s *signer) sign(c *call, old string) (string, error) {
	claims, method, header := jwt.MapClaims{}, s.method, map[string]any{}
	if t, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(old, jwt.MapClaims{}); err == nil {
		claims, header = t.Claims.(jwt.MapClaims), t.Header
		if fits(t.Method, s.key) {
			method = t.Method
		}
	}
	now := c.set.env.Now()
	claims["iat"], claims["exp"], claims["nbf"] = now.Unix(), now.Add(tokenLife).Unix(), notBefore
	for name, value := range s.more {
		claims[name] = value
	}
	for name, t := range s.claims {
		claims[name] = t.fill(c.vars)
	}
	token := jwt.NewWithClaims(method, claims)
	for name, value := range header {
		if name != "alg" {
			token.Header[name] = value
		}
	}
	if len(s.kid) > 0 {
		token.Header["kid"] = s.kid.fill(c.vars)
	}
	signed, err := token.SignedString(s.key)
	if err != nil {
		return "", failure(fmt.Sprintf("cannot_be_signed_by_%s", method.Alg()))
	}
	return signed, nil
}
