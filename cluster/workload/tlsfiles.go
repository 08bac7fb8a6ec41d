package workload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/annotation"
)

// named is a ConfigMap or Secret that an annotation names, and what has to be in it.
type named struct {
	annotation, kind, name string
	keys                   []string
	judge                  func(data map[string][]byte) error
}

// Unusable says which of the ConfigMaps and Secrets that a workload's annotations name
// are missing, or do not hold what they should. The sidecar starts all the same, and
// relays the TLS that they are for unopened. Those that may not be read here are left out.
func Unusable(ctx context.Context, c kubernetes.Interface, namespace string, s annotation.Sidecar) (warnings []string) {
	for _, n := range namedBy(s) {
		data, err := n.read(ctx, c, namespace)
		switch {
		case apierrors.IsNotFound(err):
			err = errors.New("does not exist")
		case err != nil:
			continue
		default:
			err = n.wrong(data)
		}
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s %q, which the annotation %s names, %v: until it is right, TLS that needs it is relayed unopened", n.kind, n.name, n.annotation, err))
		}
	}
	return warnings
}

func namedBy(s annotation.Sidecar) (all []named) {
	for _, ca := range s.TLSOutCA {
		all = append(all, named{annotation.TLSOutCA, ca.Kind, ca.Name, []string{ca.Key}, func(data map[string][]byte) error {
			if !x509.NewCertPool().AppendCertsFromPEM(data[ca.Key]) {
				return fmt.Errorf("has no certificate in key %q (want PEM)", ca.Key)
			}
			return nil
		}})
	}
	for _, of := range []struct {
		annotation string
		annotation.TLSFiles
	}{{annotation.TLSInSecret, s.TLSIn}, {annotation.TLSMutualSecret, s.TLSMutual}} {
		f := of.TLSFiles
		if f.Secret == "" {
			continue
		}
		all = append(all, named{of.annotation, annotation.KindSecret, f.Secret, []string{f.Public, f.Private}, func(data map[string][]byte) error {
			if _, err := tls.X509KeyPair(data[f.Public], data[f.Private]); err != nil {
				return fmt.Errorf("has no certificate with its key in keys %q and %q: %w", f.Public, f.Private, err)
			}
			return nil
		}})
	}
	return all
}

func (n named) read(ctx context.Context, c kubernetes.Interface, namespace string) (map[string][]byte, error) {
	if n.kind == annotation.KindSecret {
		secret, err := c.CoreV1().Secrets(namespace).Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return secret.Data, nil
	}
	config, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	maps.Copy(data, config.BinaryData)
	for key, value := range config.Data {
		data[key] = []byte(value)
	}
	return data, nil
}

// wrong says what of the object keeps goproxy from using it, nil for nothing.
func (n named) wrong(data map[string][]byte) error {
	for _, key := range n.keys {
		if _, ok := data[key]; !ok {
			return fmt.Errorf("has no key %q", key)
		}
	}
	return n.judge(data)
}
