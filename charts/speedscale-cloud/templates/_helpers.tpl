{{- define "speedscale-cloud.selector" -}}
app.kubernetes.io/name: speedscale-cloud
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "speedscale-cloud.labels" -}}
{{ include "speedscale-cloud.selector" . }}
app: speedscale-cloud
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
