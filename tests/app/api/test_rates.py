"""The rate limit: films are counted by caller, whatever form they come in."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import time_machine

from app.api.callers import Caller, caller_of
from app.api.errors import RateExceeded, TooManyFiles
from app.api.rates import Rates
from app.keys import KeyRing, entry_of
from app.settings import Settings
from tests.app.live import Live, running
