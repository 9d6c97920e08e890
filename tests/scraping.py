"""A server in this process with its port for metrics, and who reads it there.

    with Scraped(tmp_path / "db") as scraped:
        scraped.metrics()["meilies_events"]
"""

import urllib.error
import urllib.request

from conftest import SECONDS
from prometheus_client.parser import text_string_to_metric_families
from serving import OK, Serving, publish

from server.exposition import metrics_server


class Scraped:
    """A server in this process, with its port for metrics; a context manager."""

    def __init__(self, path, **options):
        self.serving = Serving(path, metrics_port=0, **options)
        self.web = metrics_server(self.serving.poller, self.serving.limits)
        self.web.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.web.stop()
        self.serving.__exit__()

    def get(self, path, **headers):
        """(status, content type, text)"""
        request = urllib.request.Request(f"http://127.0.0.1:{self.web.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    def metrics(self):
        """{name, or name and labels as a sorted tuple: value} of all samples."""
        found = {}
        for family in text_string_to_metric_families(self.get("/metrics")[2]):
            for sample in family.samples:
                key = (sample.name, *sorted(sample.labels.items())) if sample.labels else sample.name
                assert key not in found, f"{key} is there twice"
                found[key] = sample.value
        return found

    def use(self):
        """Do some of everything; the Client that did."""
        client, follower = self.serving.connect(), self.serving.connect()
        follower.ask("subscribe", "s")
        client.send(publish("s", "d") * 10)
        client.recv_exactly(OK * 10)
        client.ask("append", "s", "any", "x", "d", "", "")
        client.ask("group-create", 'a "quoted" \\ group', "stream", "s", 0)
        client.error("nonsense")
        client.ask("ping")
        return client
