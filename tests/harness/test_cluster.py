"""The grid on Ray: a cluster of several nodes, one of which is lost in the midst of a run."""

import signal
import sys
import threading

import pytest

from benchmarks.engine import cluster
from benchmarks.run import main
from tests.conftest import SOME
from tests.processes import wait_for

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def nodes():
    """A cluster without room on its head, and a function that adds a node of one CPU."""
    from ray.cluster_utils import Cluster

    before = signal.getsignal(signal.SIGTERM)  # which Ray would keep for itself
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()
    signal.signal(signal.SIGTERM, before)


def test_an_address_without_a_cluster_is_one_line(in_smoke_folder, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "no port")
    assert main([*SOME, "--out", "no_cluster", "--engine", "ray"]) == 2
    assert "RAY_ADDRESS" in capsys.readouterr().err.splitlines()[-1]


def test_without_ray_there_is_one_line(in_smoke_folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*SOME, "--out", "no_ray", "--engine", "ray"]) == 2
    assert "pip install" in capsys.readouterr().err.splitlines()[-1]


def test_a_cluster_without_room_is_one_line(in_smoke_folder, nodes, capsys):
    assert main([*SOME, "--out", "no_room", "--engine", "ray"]) == 2
    assert "0 CPUs" in capsys.readouterr().err.splitlines()[-1]


def test_a_cluster_that_loses_its_nodes_is_one_line(in_smoke_folder, nodes, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "WAIT", 2.0)
    node, out = nodes.add_node(num_cpus=1), in_smoke_folder / "no_node"
    nodes.wait_for_nodes()

    def lose():
        wait_for(lambda: list(out.glob("work/learners.json")))
        nodes.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    assert main([*SOME, "--out", str(out), "--engine", "ray"]) == 2
    thread.join()
    assert "0 CPUs" in capsys.readouterr().err.splitlines()[-1]


def test_a_lost_nodes_work_is_taken_up_elsewhere(in_smoke_folder, unbroken, nodes):
    out = in_smoke_folder / "on_ray"
    lost = [nodes.add_node(num_cpus=1), nodes.add_node(num_cpus=1)][0]
    nodes.wait_for_nodes()
    removed = []

    def lose():
        wait_for(lambda: list(out.glob("work/weights/base-*")), 300)
        nodes.remove_node(lost, allow_graceful=False)
        removed.append(sorted(path.name for path in out.glob("work/episodes/**/*.csv")))

    thread = threading.Thread(target=lose)
    thread.start()
    assert main([*SOME, "--out", str(out), "--engine", "ray"]) == 0
    thread.join()
    assert removed == [[]]  # before anything was evaluated
    for name in ("table2.csv", "episodes.csv.gz", "curves.csv.gz", "similarities.csv"):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes(), name
