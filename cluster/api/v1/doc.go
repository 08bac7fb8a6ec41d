// Package v1 has the types of the API group speedscale.com, version v1.
//
// +kubebuilder:object:generate=true
// +groupName=speedscale.com
package v1
