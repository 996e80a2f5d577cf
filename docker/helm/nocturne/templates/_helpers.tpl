{{- define "nocturne.labels" -}}
app.kubernetes.io/part-of: nocturne
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
component: {{ .component }}
{{- end }}

{{- define "nocturne.pod" -}}
serviceAccountName: nocturne-{{ .component }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "nocturne.container" -}}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
# a file each: a volume at /run/secrets would be in the way of the tokens that Kubernetes and EKS put below it
volumeMounts:
  - {name: var, mountPath: /nocturne/var}
  - {name: tmp, mountPath: /tmp}
  - {name: aws, mountPath: /etc/nocturne/aws, readOnly: true}
  {{- range .secrets }}
  - {name: secrets, mountPath: /run/secrets/{{ . }}, subPath: {{ . }}, readOnly: true}
  {{- end }}
{{- end }}

{{- define "nocturne.volumes" -}}
- {name: var, emptyDir: {}}
- {name: tmp, emptyDir: {}}
# not there where a service account has a role of AWS
- name: aws
  secret:
    secretName: {{ .root.Values.secret }}
    optional: true
    defaultMode: 0440
    items: [{key: {{ .aws }}, path: credentials}]
- name: secrets
  secret:
    secretName: {{ .root.Values.secret }}
    defaultMode: 0440
    items:
      {{- range .secrets }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}

{{- define "nocturne.probes" -}}
{{- /* a start has ten minutes; afterwards three answers that do not come are the end */ -}}
startupProbe:
  exec: {command: [python, -m, include.local.answers, "{{ . }}"]}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 60
livenessProbe:
  exec: {command: [python, -m, include.local.answers, "{{ . }}"]}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
readinessProbe:
  exec: {command: [python, -m, include.local.answers, "{{ . }}"]}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
{{- end }}
