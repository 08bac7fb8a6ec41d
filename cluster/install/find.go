package install

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// RefusedError says why nothing was changed.
type RefusedError struct {
	error
	// Hint says what can be done.
	Hint string
}

func refuse(hint, format string, args ...any) error {
	return &RefusedError{fmt.Errorf(format, args...), hint}
}

// foreign is the error about a part that is of no release of speedctl's: of one of another
// name, or applied by kubectl or a tool that renders charts by itself.
func foreign(what, namespace, release string) error {
	return fmt.Errorf("the %s in namespace %q is of no release %q: change or remove it by what installed it, such as helm or kubectl", what, namespace, release)
}

// place is where a part of an installation is.
type place struct {
	namespace string
	// ours says that it is of the release that speedctl makes.
	ours bool
}

// placesOf returns where objects are, but those that are being deleted.
func placesOf[T any, P interface {
	*T
	metav1.Object
}](objects []T, release string) (places []place) {
	for i := range objects {
		o := P(&objects[i])
		if o.GetDeletionTimestamp() == nil {
			by := o.GetAnnotations()
			ours := by["meta.helm.sh/release-name"] == release && by["meta.helm.sh/release-namespace"] == o.GetNamespace()
			places = append(places, place{o.GetNamespace(), ours})
		}
	}
	return places
}

// everywhere lists in all namespaces or, where the user may not, in the one that is meant.
func everywhere[T any](meant string, list func(namespace string) (T, error)) (T, error) {
	found, err := list(metav1.NamespaceAll)
	if apierrors.IsForbidden(err) {
		found, err = list(meant)
	}
	return found, err
}

// Unclaimed says which operator an installation would take over (*RefusedError): one in another
// namespace, since objects of the whole cluster are of one operator only, or one that speedctl
// did not install.
func Unclaimed(ctx context.Context, c kubernetes.Interface, o Options) error {
	list, err := everywhere(o.Namespace, func(namespace string) ([]place, error) {
		list, err := c.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: byOperator})
		if err != nil {
			return nil, err
		}
		return placesOf(list.Items, Operator), nil
	})
	if err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	here := slices.IndexFunc(list, func(p place) bool { return p.namespace == o.Namespace })
	switch {
	case here >= 0 && !list[here].ours:
		return &RefusedError{foreign("operator", o.Namespace, Operator), "speedctl works with it, and leaves it as it is"}
	case here < 0 && len(list) > 0:
		there := list[0].namespace
		return refuse("-n "+there+" means that one", "an operator is in namespace %q already, and a cluster has one", there)
	}
	return nil
}

// FindCloud settles, by what the cluster has, which cloud is meant: its namespace, where
// CloudNamespace is "", and its address where AppURL is "" and the operator sends to one that
// speedctl did not install. ResetValues forgets that address.
func FindCloud(ctx context.Context, c kubernetes.Interface, h Releases, o Options) (Options, error) {
	meant := cmp.Or(o.CloudNamespace, CloudNamespace)
	sets, err := everywhere(meant, func(namespace string) ([]place, error) {
		list, err := c.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + Cloud})
		if err != nil {
			return nil, err
		}
		return placesOf(list.Items, Cloud), nil
	})
	if err != nil {
		return o, fmt.Errorf("clouds: %w", err)
	}
	address, err := o.address(ctx, c, h)
	if err != nil {
		return o, err
	}
	sendsTo := cloudIn(address)
	if address != "" && (sendsTo == "" || slices.Contains(sets, place{sendsTo, false})) {
		sendsTo = ""
		if o.AppURL == "" && !o.ResetValues {
			o.AppURL, o.kept = address, true
		}
	}
	there, err := kept(ctx, c, meant, sets)
	if err != nil {
		return o, err
	}
	o.CloudNamespace = cmp.Or(o.CloudNamespace, sendsTo)
	switch {
	case len(there) == 0:
		o.CloudNamespace = cmp.Or(o.CloudNamespace, CloudNamespace)
	case o.CloudNamespace == "" && len(there) == 1:
		o.CloudNamespace = there[0]
	case o.CloudNamespace == "":
		return o, refuse("--cloud-namespace says which is meant", "there are clouds in the namespaces %s", strings.Join(there, ", "))
	case !slices.Contains(there, o.CloudNamespace):
		return o, refuse("--cloud-namespace "+there[0]+" means that one", "no cloud is in namespace %q: it is in %s", o.CloudNamespace, strings.Join(there, ", "))
	}
	return o, nil
}

// settle is FindCloud for an installation, which takes nothing over.
func settle(ctx context.Context, c kubernetes.Interface, h Releases, o Options) (Options, error) {
	err := Unclaimed(ctx, c, o)
	if err == nil {
		o, err = FindCloud(ctx, c, h, o)
	}
	switch {
	case err != nil:
		return o, err
	case o.AppURL == "":
		return o, o.foreignCloud(ctx, c)
	case o.kept && len(o.CloudValues) > 0:
		return o, refuse("--reset-values with them installs a cloud in the cluster", "values of a cloud's chart are given, and the operator sends to %q, which is none of speedctl's", o.AppURL)
	}
	return o, nil
}

// kept are the namespaces of clouds that speedctl installed or, where there is none, those
// of volumes that an uninstalled one has left.
func kept(ctx context.Context, c kubernetes.Interface, meant string, sets []place) (namespaces []string, err error) {
	for _, p := range sets {
		if p.ours {
			namespaces = append(namespaces, p.namespace)
		}
	}
	if len(namespaces) > 0 {
		return namespaces, nil
	}
	return everywhere(meant, func(namespace string) (list []string, err error) {
		claims, err := c.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{
			LabelSelector: "app.kubernetes.io/name=" + Cloud + ",app.kubernetes.io/instance=" + Cloud,
		})
		if err != nil {
			return nil, fmt.Errorf("volumes of clouds: %w", err)
		}
		for _, p := range placesOf(claims.Items, Cloud) {
			if !slices.Contains(sets, place{p.namespace, false}) && !slices.Contains(list, p.namespace) {
				list = append(list, p.namespace)
			}
		}
		return list, nil
	})
}

// address is that of the cloud which the operator sends to, "" where nothing says it.
func (o *Options) address(ctx context.Context, c kubernetes.Interface, h Releases) (string, error) {
	values, _, err := h.Values(Operator, o.Namespace)
	if err != nil {
		return "", err
	}
	if appURL, _ := values["appUrl"].(string); appURL != "" {
		return appURL, nil
	}
	name, _ := values["apiKeySecret"].(string)
	name = cmp.Or(name, OperatorKey)
	secret, err := c.CoreV1().Secrets(o.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("secret %q in namespace %q: %w", name, o.Namespace, err)
	}
	return string(secret.Data[EntryURL]), nil
}

// cloudIn is the namespace of the cloud whose address is that of its Service, "" of others.
func cloudIn(address string) (namespace string) {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	if parts := strings.Split(u.Hostname(), "."); len(parts) > 2 && parts[0] == Cloud && parts[2] == "svc" {
		return parts[1]
	}
	return ""
}

// foreignCloud says that the cloud in its namespace is not speedctl's.
func (o *Options) foreignCloud(ctx context.Context, c kubernetes.Interface) error {
	set, err := cloudSet(ctx, c, o.CloudNamespace)
	if err == nil && set != nil && !placesOf([]metav1.ObjectMeta{set.ObjectMeta}, Cloud)[0].ours {
		err = &RefusedError{foreign("cloud", o.CloudNamespace, Cloud), "--app-url and --api-key have the operator send to it as it is"}
	}
	return err
}
