{{- define "vitals-hub.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "vitals-hub.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "vitals-hub.name" .) -}}
{{- end }}

{{- define "vitals-hub.selector" -}}
app.kubernetes.io/name: vitals-hub
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vitals-hub.labels" -}}
{{ include "vitals-hub.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: hub
app.kubernetes.io/part-of: vitals
{{- end }}

{{- define "vitals-hub.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* The Secrets of the port, and those of NATS, as folders below /etc/vitals. */}}
{{- define "vitals-hub.folders" -}}
{{- if not .Values.insecure }}
- {folder: tls, secret: {{ required "tls.secretName: name a Secret of type kubernetes.io/tls, or say insecure" .Values.tls.secretName }}, keys: [tls.crt, tls.key]}
- {folder: token, secret: {{ required "token.secretName: name a Secret with tokens, or say insecure" .Values.token.secretName }}, keys: [tokens]}
{{- if .Values.tls.clientCaSecretName }}
- {folder: client-ca, secret: {{ .Values.tls.clientCaSecretName }}, keys: [ca.crt]}
{{- end }}
{{- end }}
{{- include "vitals.nats.folders" . }}
{{- end }}
