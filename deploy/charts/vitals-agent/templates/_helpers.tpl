{{- define "vitals-agent.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What belongs to the cluster and not to a namespace is named after both. */}}
{{- define "vitals-agent.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "vitals-agent.name" .) -}}
{{- end }}

{{- define "vitals-agent.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "vitals-agent.name" .) -}}
{{- end }}

{{- define "vitals-agent.selector" -}}
app.kubernetes.io/name: vitals-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vitals-agent.labels" -}}
{{ include "vitals-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: vitals
{{- end }}

{{- define "vitals-agent.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/*
The kinds that are watched, of those without a namespace (`cluster`) or of the others (`namespaced`), as the agent chooses them
(agent/src/args.rs): those that are named, else all, but of one namespace only what is in it.
*/}}
{{- define "vitals-agent.kinds" -}}
{{- $known := get (.context.Files.Get "kinds.yaml" | fromYaml) .of -}}
{{- $named := .context.Values.kinds -}}
{{- if $named -}}
{{- range $known }}{{ if has . $named }}
- {{ . }}
{{- end }}{{ end }}
{{- else if not (and .context.Values.namespace (eq .of "cluster")) -}}
{{- toYaml $known -}}
{{- end -}}
{{- end }}

{{/* Rules to read these kinds, one for each API group. */}}
{{- define "vitals-agent.rules" -}}
{{- $groups := dict -}}
{{- range . -}}
{{- $parts := splitn "." 2 . -}}
{{- $group := $parts._1 | default "" -}}
{{- $_ := set $groups $group (append (get $groups $group | default list) $parts._0) -}}
{{- end -}}
{{- range $group := keys $groups | sortAlpha }}
- apiGroups: [{{ $group | quote }}]
  resources: [{{ get $groups $group | sortAlpha | join ", " }}]
  verbs: [get, list, watch]
{{- end -}}
{{- end }}
