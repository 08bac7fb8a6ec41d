{{- define "speedscale-operator.selector" -}}
app.kubernetes.io/name: speedscale-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "speedscale-operator.labels" -}}
{{ include "speedscale-operator.selector" . }}
app: speedscale-operator
controlplane.speedscale.com/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "speedscale-operator.demoLabels" -}}
app: catalog
app.kubernetes.io/part-of: speedscale-demo
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* On which nodes pods may run, as their spec has it. */ -}}
{{- define "speedscale-operator.scheduling" -}}
{{- $set := dict -}}
{{- range $key := list "nodeSelector" "tolerations" "affinity" -}}
{{- with index $.Values $key }}{{ $_ := set $set $key . }}{{ end -}}
{{- end -}}
{{- with $set }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* The ConfigMap with the certificates that verify the cloud, if it needs any. */ -}}
{{- define "speedscale-operator.caConfigMap" -}}
{{- if and .Values.appCA .Values.appCAConfigMap }}{{ fail "appCA and appCAConfigMap are both set: one of them has the certificates that verify the cloud" }}{{ end -}}
{{- if .Values.appCA }}speedscale-cloud-ca{{ else }}{{ .Values.appCAConfigMap }}{{ end -}}
{{- end -}}
