"""All dashboards."""

from typing import Final

from grafana.boards.consensus import CONSENSUS
from grafana.boards.dht import DHT
from grafana.boards.http import HTTP
from grafana.boards.market import MARKET
from grafana.boards.overview import OVERVIEW
from grafana.boards.process import PROCESS

BOARDS: Final = (OVERVIEW, CONSENSUS, MARKET, HTTP, DHT, PROCESS)
