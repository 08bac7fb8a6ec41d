package intercept

import (
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"

	"github.com/speedscale/speedscale/agents/config/trust"
)

// javaStore returns the certificates of a PEM bundle as a Java key store (JKS), the
// one form that every JVM reads: Java cannot be given PEM. What cannot be parsed is
// left out, as OpenSSL and Go do. The format is that of sun.security.provider.JavaKeyStore.
func javaStore(bundle []byte) []byte {
	const (
		magic, version    = 0xfeedfeed, 2
		trustedCert       = 2
		salt, certificate = "Mighty Aphrodite", "X.509"
	)
	var entries []byte
	count := uint32(0)
	text := func(s string) {
		entries = binary.BigEndian.AppendUint16(entries, uint16(len(s)))
		entries = append(entries, s...)
	}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		entries = binary.BigEndian.AppendUint32(entries, trustedCert)
		text(fmt.Sprintf("ca-%d", count))
		entries = binary.BigEndian.AppendUint64(entries, uint64(cert.NotBefore.UnixMilli()))
		text(certificate)
		entries = binary.BigEndian.AppendUint32(entries, uint32(len(block.Bytes)))
		entries = append(entries, block.Bytes...)
		count++
	}
	store := binary.BigEndian.AppendUint32(nil, magic)
	store = binary.BigEndian.AppendUint32(store, version)
	store = binary.BigEndian.AppendUint32(store, count)
	store = append(store, entries...)
	// The digest guards against damage, not against anybody: the password is known.
	digest := sha1.New()
	for _, c := range trust.JavaPassword {
		digest.Write([]byte{byte(c >> 8), byte(c)})
	}
	digest.Write([]byte(salt))
	digest.Write(store)
	return digest.Sum(store)
}
