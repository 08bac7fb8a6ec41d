package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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
)

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

// ensureKeys returns the keys of a cloud in the cluster, and makes them where there
// are none: those that are there stay.
func ensureKeys(ctx context.Context, c kubernetes.Interface, namespace string, newKey func() string) (*corev1.Secret, error) {
	secrets := c.CoreV1().Secrets(namespace)
	s, err := secrets.Get(ctx, CloudKeys, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		s, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: CloudKeys, Namespace: namespace, Labels: ours()},
			Data:       map[string][]byte{EntryAdmin: []byte(newKey()), EntryOperator: []byte(newKey())},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("secret %q in namespace %q: %w", CloudKeys, namespace, err)
	}
	for _, entry := range []string{EntryAdmin, EntryOperator} {
		if len(s.Data[entry]) == 0 {
			return nil, fmt.Errorf("secret %q in namespace %q has no entry %q", CloudKeys, namespace, entry)
		}
	}
	return s, nil
}

// putOperatorKey tells the operator where the cloud is, and how it opens. Running pods keep
// what they have read, so that the chart is told by a hash whether to restart them. Nobody
// finds the key by it, of which 32 bytes are random.
func putOperatorKey(ctx context.Context, c kubernetes.Interface, namespace, url string, key []byte) (keyHash string, err error) {
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
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", url, key))
	return hex.EncodeToString(sum[:8]), nil
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
