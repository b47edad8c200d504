{{- define "raft-exchange.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 40 characters: a pod's name, its ordinal included, names the node. */ -}}
{{- define "raft-exchange.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 28 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "raft-exchange.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 28 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 28 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "raft-exchange.headless" -}}
{{- printf "%s-nodes" (include "raft-exchange.fullname" .) -}}
{{- end -}}

{{- /* The URLs of the pods that there will be, comma-separated. */ -}}
{{- define "raft-exchange.urls" -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.replicaCount) -}}
{{- $pod := printf "%s-%d.%s.%s.svc.%s" (include "raft-exchange.fullname" $) $i (include "raft-exchange.headless" $) $.Release.Namespace $.Values.clusterDomain -}}
{{- $urls = append $urls (printf "%s://%s:%d" (include "raft-exchange.scheme" $) $pod (int $.Values.ports.http)) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}

{{- /* The names of the client Service in and outside its namespace, and those of what is in front. */ -}}
{{- define "raft-exchange.hosts" -}}
{{- $name := include "raft-exchange.fullname" . -}}
{{- $namespaced := printf "%s.%s" $name .Release.Namespace -}}
{{- $service := printf "%s.svc" $namespaced -}}
{{- $hosts := list $name $namespaced $service (printf "%s.%s" $service .Values.clusterDomain) -}}
{{- join "," (concat $hosts .Values.service.hosts) -}}
{{- end -}}

{{- define "raft-exchange.scheme" -}}
{{- ternary "https" "http" (ne .Values.tls.existingSecret "") -}}
{{- end -}}

{{- /* Calls of stock Grenache clients have a port of their own where HTTP has TLS, which they do not speak. */ -}}
{{- define "raft-exchange.grenachePort" -}}
{{- if and .Values.exchange.seedServices .Values.tls.existingSecret -}}yes{{- end -}}
{{- end -}}

{{- /* The volume of the certificate; `all` for what serves with it, else its authority alone. */ -}}
{{- define "raft-exchange.tlsVolume" -}}
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret }}
    defaultMode: 0440
    items:
      {{- if .all }}
      - key: {{ .Values.tls.certificate }}
        path: tls.crt
      - key: {{ .Values.tls.key }}
        path: tls.key
      {{- end }}
      {{- with .Values.tls.authority }}
      - key: {{ . }}
        path: ca.crt
      {{- end }}
{{- end -}}

{{- /* What a hook's pod needs to believe the nodes' certificates. */ -}}
{{- define "raft-exchange.trustsAuthority" -}}
{{- if and .Values.tls.existingSecret .Values.tls.authority -}}yes{{- end -}}
{{- end -}}

{{- /* The egress rule for DNS. */ -}}
{{- define "raft-exchange.lookups" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{- define "raft-exchange.selector" -}}
app.kubernetes.io/name: {{ include "raft-exchange.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "raft-exchange.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "raft-exchange.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "raft-exchange.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "raft-exchange.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "raft-exchange.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "raft-exchange.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- include "raft-exchange.fullname" . -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "raft-exchange.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "raft-exchange.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: {{ .Values.podSecurityContext.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}
