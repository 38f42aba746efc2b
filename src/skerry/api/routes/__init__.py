"""What the API offers, by subject. Each route is one call of the SDK."""

from skerry.api.routes import alerts, apps, cloud, hosts, looks, machines, metrics, operations, store, watch
from skerry.api.table import Route

ROUTES: list[Route] = [
    route
    for part in (
        cloud.routes,
        alerts.routes,
        looks.routes,
        apps.routes,
        hosts.routes,
        machines.routes,
        store.routes,
        metrics.routes,
        operations.routes,
        watch.routes,
    )
    for route in part.all
]
