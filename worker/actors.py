"""``dramatiq worker.actors``: the actors that apply operations to the database and keep the cache true to it.

What each does is said in `worker.applier`; here is what Dramatiq has to know of it: queues, retries, and who comes after the
last retry.
"""

from __future__ import annotations

import os

import dramatiq

import entities.operations
from entities.database import open_database
from worker.actor_metrics import count_messages
from worker.applier import Applier, declare_actors
from worker.broker import build_broker
from worker.cache import Cache
from worker.connections import database_config
from worker.fault_points import arm
from worker.logs import configure_logging
from worker.settings import settings_or_exit

# Dramatiq's command imports this module in each worker process, after the fork, and wants the broker then.
settings = settings_or_exit()
configure_logging(settings)
entities.operations.configure(settings.unknown_attributes)
arm(os.environ)
broker = build_broker(settings)
if settings.actors_metrics_port:
    count_messages(broker)
dramatiq.set_broker(broker)
open_database(database_config(settings))
declare_actors(broker, Applier(settings, broker, Cache.connect(settings)))
