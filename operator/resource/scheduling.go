package resource

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
)

// Scheduling says on which nodes pods may run, as a pod's spec does.
type Scheduling struct {
	NodeSelector map[string]string   `json:"nodeSelector,omitempty"`
	Tolerations  []corev1.Toleration `json:"tolerations,omitempty"`
	Affinity     *corev1.Affinity    `json:"affinity,omitempty"`
}

// schedule says it in the spec of a pod, which is a *corev1.PodSpec or what is applied as
// one: they are alike in JSON, and in nothing else.
func (c Config) schedule(spec any) {
	text, err := json.Marshal(c.Scheduling)
	if err == nil {
		err = json.Unmarshal(text, spec)
	}
	if err != nil {
		panic("operator/resource: no pod's spec: " + err.Error())
	}
}
