from skerry.sdk import AsyncClient as AsyncClient
from skerry.sdk import Client as Client

__version__: str
