package intercept

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// subjectKeyID is the first 160 bits of the SHA-256 of the public key (RFC 7093,
// section 2, method 1).
func subjectKeyID(key *ecdsa.PublicKey) ([]byte, error) {
	point, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// subjectHash is the number under which OpenSSL looks for a certificate in a
// directory (X509_NAME_hash): the first four bytes, as a little-endian number, of
// the SHA-1 of the name's canonical form. In that form strings are UTF-8, in lower
// case (ASCII only), without outer spaces and with single inner ones, and the
// header of the outer sequence is left out.
func subjectHash(rawSubject []byte) (string, error) {
	var rdns []asn1.RawValue
	if rest, err := asn1.Unmarshal(rawSubject, &rdns); err != nil {
		return "", fmt.Errorf("subject name: %w", err)
	} else if len(rest) > 0 {
		return "", errors.New("subject name: there are bytes after it")
	}
	var canonical []byte
	for _, rdn := range rdns {
		set, err := canonicalRDN(rdn.FullBytes)
		if err != nil {
			return "", err
		}
		canonical = append(canonical, set...)
	}
	sum := sha1.Sum(canonical)
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:])), nil
}

func canonicalRDN(der []byte) ([]byte, error) {
	var attributes []attribute
	if _, err := asn1.UnmarshalWithParams(der, &attributes, "set"); err != nil {
		return nil, fmt.Errorf("subject name: %w", err)
	}
	var encoded [][]byte
	for _, a := range attributes {
		if s, ok := stringOf(a.Value); ok {
			a.Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(canonicalString(s))}
		}
		b, err := asn1.Marshal(a)
		if err != nil {
			return nil, fmt.Errorf("subject name: %w", err)
		}
		encoded = append(encoded, b)
	}
	slices.SortFunc(encoded, bytes.Compare) // DER sorts what is in a SET OF
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(encoded, nil)})
}

// Tags that encoding/asn1 has no name for.
const (
	tagVisibleString   = 26
	tagUniversalString = 28
)

// stringOf decodes the string types that OpenSSL makes canonical.
func stringOf(v asn1.RawValue) (string, bool) {
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, tagVisibleString:
		return string(v.Bytes), true
	case asn1.TagT61String: // read as Latin-1, as OpenSSL does
		runes := make([]rune, len(v.Bytes))
		for i, b := range v.Bytes {
			runes[i] = rune(b)
		}
		return string(runes), true
	case asn1.TagBMPString:
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(v.Bytes[2*i:])
		}
		return string(utf16.Decode(units)), true
	case tagUniversalString:
		runes := make([]rune, len(v.Bytes)/4)
		for i := range runes {
			runes[i] = rune(binary.BigEndian.Uint32(v.Bytes[4*i:]))
		}
		return string(runes), true
	}
	return "", false
}

func canonicalString(s string) string {
	space := func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }
	s = strings.Join(strings.FieldsFunc(s, space), " ")
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
