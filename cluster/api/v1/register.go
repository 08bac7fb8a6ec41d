package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and Version are those of the API.
const (
	Group   = "speedscale.com"
	Version = "v1"
)

// AddToScheme makes the types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	gv := schema.GroupVersion{Group: Group, Version: Version}
	s.AddKnownTypes(gv, &TrafficReplay{}, &TrafficReplayList{})
	metav1.AddToGroupVersion(s, gv)
	return nil
}
