{{- /* What a new release means for the one that runs. `running` is its StatefulSet, empty where
nobody could be asked: at the install, and where Helm only renders. */ -}}

{{- /* When the members above replicaCount are removed. On a rollback the hook of the revision that is
gone back to runs, so each revision has one; on an upgrade only where it shrinks the cluster, so that a
cluster that does not answer can be mended by an upgrade. */ -}}
{{- define "raft-exchange.scaleDownHooks" -}}
{{- $shrinks := true -}}
{{- with .running -}}
{{- $shrinks = gt (int .spec.replicas) (int $.Values.replicaCount) -}}
{{- end -}}
{{- if and .Release.IsUpgrade $shrinks -}}pre-upgrade,pre-rollback{{- else -}}pre-rollback{{- end -}}
{{- end -}}

{{- /* Who founded the cluster cannot be changed afterwards. */ -}}
{{- define "raft-exchange.checkFounders" -}}
{{- range dig "spec" "template" "spec" "containers" list .running -}}
{{- range .env -}}
{{- if and (eq .name "RAFT_EXCHANGE_EXPECT") (ne .value (toString $.Values.cluster.initialMembers)) -}}
{{- fail (printf "cluster.initialMembers was %s when the cluster was founded and cannot be %v now; replicaCount is how many nodes there are" .value $.Values.cluster.initialMembers) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
