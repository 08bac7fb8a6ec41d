package install

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/speedscale/speedscale/cluster/helm"
)

// Secrets, as the charts expect them.
const (
	// CloudKeys is in the cloud's namespace, with the entries EntryAdmin and
	// EntryOperator.
	CloudKeys     = "speedscale-api-keys"
	EntryAdmin    = "admin"
	EntryOperator = "operator"
	// OperatorKey is in the operator's namespace, with the entries EntryKey and
	// EntryURL.
	OperatorKey = "speedscale-api-key"
	EntryKey    = "SPEEDSCALE_API_KEY"
	EntryURL    = "SPEEDSCALE_APP_URL"
	// KeysAnnotation of the cloud's Service names the Secret that it reads instead of
	// CloudKeys.
	KeysAnnotation = "controlplane.speedscale.com/api-key-secret"
)

// secretOf is the Secret that values of a chart name, or speedctl's own.
func secretOf(values map[string]any, own string) string {
	name, _ := values["apiKeySecret"].(string)
	return cmp.Or(name, own)
}

// given looks at the Secrets that releases name instead of speedctl's own, which speedctl
// does not make.
func given(ctx context.Context, c kubernetes.Interface, releases []helm.Release) error {
	for _, r := range releases {
		own, entries := CloudKeys, []string{EntryAdmin, EntryOperator}
		if r.Name == Operator {
			own, entries = OperatorKey, []string{EntryKey, EntryURL}
			if url, _ := r.Values["appUrl"].(string); url != "" {
				entries = entries[:1]
			}
		}
		name := secretOf(r.Values, own)
		if name == own {
			continue
		}
		if _, err := readSecret(ctx, c, r.Namespace, name, entries...); err != nil {
			return &ValuesError{fmt.Errorf("apiKeySecret of %s: %w: make it, with %s", r.Name, err, strings.Join(entries, " and "))}
		}
	}
	return nil
}

// readSecret returns a Secret that has some entries.
func readSecret(ctx context.Context, c kubernetes.Interface, namespace, name string, entries ...string) (*corev1.Secret, error) {
	s, err := c.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("secret %q in namespace %q: %w", name, namespace, err)
	}
	for _, entry := range entries {
		if len(s.Data[entry]) == 0 {
			return nil, fmt.Errorf("secret %q in namespace %q has no entry %q", name, namespace, entry)
		}
	}
	return s, nil
}

// ensureNamespace makes a namespace, unless it is there.
func ensureNamespace(ctx context.Context, c kubernetes.Interface, name string) error {
	_, err := c.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %q: %w", name, err)
	}
	return nil
}

// ensureKeys returns the keys of a cloud in the cluster, which the Secret of that name has,
// and makes speedctl's own where there are none: those that are there stay.
func ensureKeys(ctx context.Context, c kubernetes.Interface, namespace, name string, newKey func() string) (*corev1.Secret, error) {
	s, err := readSecret(ctx, c, namespace, name, EntryAdmin, EntryOperator)
	if name != CloudKeys || !apierrors.IsNotFound(err) {
		return s, err
	}
	s, err = c.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: ours()},
		Data:       map[string][]byte{EntryAdmin: []byte(newKey()), EntryOperator: []byte(newKey())},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("secret %q in namespace %q: %w", name, namespace, err)
	}
	return s, nil
}

// putOperatorKey tells the operator where the cloud is, and how it opens. Running pods keep
// what they have read, so that the chart is told by a hash whether to restart them. Nobody
// finds the key by it, of which 32 bytes are random. A Secret of another name stays as it is.
func putOperatorKey(ctx context.Context, c kubernetes.Interface, namespace, name, url string, key []byte) (keyHash string, err error) {
	if name != OperatorKey {
		s, err := readSecret(ctx, c, namespace, name, EntryKey)
		if err != nil {
			return "", err
		}
		return hashOf(string(s.Data[EntryURL]), s.Data[EntryKey]), nil
	}
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: OperatorKey, Namespace: namespace, Labels: ours()},
		Data:       map[string][]byte{EntryKey: key, EntryURL: []byte(url)},
	}
	secrets := c.CoreV1().Secrets(namespace)
	_, err = secrets.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil {
		return "", fmt.Errorf("secret %q in namespace %q: %w", OperatorKey, namespace, err)
	}
	return hashOf(url, key), nil
}

func hashOf(url string, key []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", url, key))
	return hex.EncodeToString(sum[:8])
}

// deleteSecret deletes a Secret, unless it is gone.
func deleteSecret(ctx context.Context, c kubernetes.Interface, namespace, name string) error {
	err := c.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("secret %q in namespace %q: %w", name, namespace, err)
	}
	return nil
}

// ours marks what is not of a chart, so that uninstall finds it.
func ours() map[string]string { return map[string]string{"app.kubernetes.io/managed-by": "speedctl"} }
