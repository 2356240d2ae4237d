{{/*
The connection to NATS, the same in both charts (a test compares the two files): variables, mounts and volumes.
*/}}

{{- define "vitals.nats.env" -}}
{{- $nats := .Values.nats -}}
- name: VITALS_NATS
  value: {{ join "," $nats.urls | quote }}
{{- if eq $nats.auth.method "password" }}
- name: VITALS_NATS_USER
  valueFrom:
    secretKeyRef:
      name: {{ $nats.auth.secretName }}
      key: username
- name: VITALS_NATS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $nats.auth.secretName }}
      key: password
{{- else if eq $nats.auth.method "token" }}
- name: VITALS_NATS_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $nats.auth.secretName }}
      key: token
{{- else if eq $nats.auth.method "credentials" }}
- name: VITALS_NATS_CREDENTIALS
  value: /etc/vitals/nats/credentials
{{- else if eq $nats.auth.method "nkey" }}
- name: VITALS_NATS_NKEY
  value: /etc/vitals/nats/nkey
{{- end }}
{{- if $nats.tls.required }}
- name: VITALS_NATS_REQUIRE_TLS
  value: "true"
{{- end }}
{{- if $nats.tls.caSecretName }}
- name: VITALS_NATS_CA
  value: /etc/vitals/nats-ca/ca.crt
{{- end }}
{{- if $nats.tls.clientSecretName }}
- name: VITALS_NATS_CERTIFICATE
  value: /etc/vitals/nats-tls/tls.crt
- name: VITALS_NATS_KEY
  value: /etc/vitals/nats-tls/tls.key
{{- end }}
{{- if $nats.inboxPrefix }}
- name: VITALS_NATS_INBOX_PREFIX
  value: {{ $nats.inboxPrefix | quote }}
{{- end }}
{{- end }}

{{/* Secrets that are mounted as folders below /etc/vitals: folder, Secret and the keys that are wanted. */}}
{{- define "vitals.nats.folders" -}}
{{- $nats := .Values.nats -}}
{{- if has $nats.auth.method (list "credentials" "nkey") }}
- {folder: nats, secret: {{ $nats.auth.secretName }}, keys: [{{ $nats.auth.method }}]}
{{- end }}
{{- if $nats.tls.caSecretName }}
- {folder: nats-ca, secret: {{ $nats.tls.caSecretName }}, keys: [ca.crt]}
{{- end }}
{{- if $nats.tls.clientSecretName }}
- {folder: nats-tls, secret: {{ $nats.tls.clientSecretName }}, keys: [tls.crt, tls.key]}
{{- end }}
{{- end }}

{{- define "vitals.folders.mounts" -}}
{{- range . }}
- name: {{ .folder }}
  mountPath: /etc/vitals/{{ .folder }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "vitals.folders.volumes" -}}
{{- range . }}
- name: {{ .folder }}
  secret:
    secretName: {{ .secret }}
    # For the group of the pod.
    defaultMode: 0440
    items:
    {{- range .keys }}
      - key: {{ . }}
        path: {{ . }}
    {{- end }}
{{- end }}
{{- end }}
