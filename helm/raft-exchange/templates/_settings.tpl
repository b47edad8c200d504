{{- /* What all nodes share, as the file of --config. What differs by pod is in its environment. The
number of founders is not here: it means nothing later, and must not roll the pods. */ -}}
{{- define "raft-exchange.settings" -}}
cluster = {{ .Values.cluster.name | quote }}
data_dir = "/data"
cluster_secret_file = "/run/secrets/raft-exchange/cluster-secret"
host = "0.0.0.0"
http_port = {{ int .Values.ports.http }}
metrics_port = {{ int .Values.ports.metrics }}
{{- if .Values.tls.existingSecret }}
tls_cert = "/run/secrets/raft-exchange-tls/tls.crt"
tls_key = "/run/secrets/raft-exchange-tls/tls.key"
{{- if .Values.tls.authority }}
tls_ca = "/run/secrets/raft-exchange-tls/ca.crt"
{{- end }}
{{- if .Values.exchange.seedServices }}
grenache_port = {{ int .Values.ports.grenache }}
{{- end }}
{{- end }}
allowed_hosts = {{ include "raft-exchange.hosts" . | quote }}
raft_host = "0.0.0.0"
raft_port = {{ int .Values.ports.raft }}
dht_host = "0.0.0.0"
dht_port = {{ int .Values.ports.dht }}
pubsub_port = {{ int .Values.ports.pubsub }}
bootstrap = "{{ include "raft-exchange.headless" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ int .Values.ports.dht }}"
durability = {{ .Values.exchange.durability | quote }}
snapshot_entries = {{ int .Values.exchange.snapshotEntries }}
snapshot_mib = {{ int .Values.exchange.snapshotMib }}
disk_reserve_mib = {{ int .Values.exchange.diskReserveMib }}
history = {{ .Values.history.enabled }}
history_days = {{ int .Values.history.days }}
auth = {{ .Values.auth.mode | quote }}
{{- if eq .Values.auth.mode "required" }}
admin_key_file = "/run/secrets/raft-exchange/admin-key"
{{- end }}
allow_open_network = {{ .Values.auth.allowOpenNetwork }}
founding_markets = {{ join "," .Values.exchange.foundingMarkets | quote }}
accounts = {{ .Values.exchange.accounts }}
require_signed_orders = {{ .Values.exchange.requireSignedOrders }}
{{- if ne (toString .Values.exchange.orderRate) "" }}
order_rate = {{ int .Values.exchange.orderRate }}
{{- end }}
order_burst = {{ int .Values.exchange.orderBurst }}
seed_services = {{ .Values.exchange.seedServices }}
cors_origins = {{ join "," .Values.exchange.corsOrigins | quote }}
rejoin_when_removed = true
drain_seconds = {{ int .Values.exchange.drainSeconds }}
log_level = {{ .Values.exchange.logLevel | quote }}
log_format = {{ .Values.exchange.logFormat | quote }}
{{- end -}}
