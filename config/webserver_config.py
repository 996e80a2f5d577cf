"""How people log in where Airflow's accounts are in its database: by password, or by an identity provider.

Read by Airflow's FAB auth manager (``[fab] config_file``) when its web server starts, and by nothing else.
"""

from include.core.settings import FAB, settings
from include.local.identity import provider, roles_mapping

if settings().identity == FAB:
    AUTH_TYPE = 1  # flask_appbuilder.const.AUTH_DB
else:
    from include.local.identity import SecurityManager

    AUTH_TYPE = 4  # flask_appbuilder.const.AUTH_OAUTH
    OAUTH_PROVIDERS = [provider(settings())]
    AUTH_ROLES_MAPPING = roles_mapping(settings())
    # Whoever the provider knows has an account from his first login on, with the roles of his groups of that moment.
    AUTH_USER_REGISTRATION = True
    AUTH_USER_REGISTRATION_ROLE = "Public"  # which may do nothing
    AUTH_ROLES_SYNC_AT_LOGIN = True
    SECURITY_MANAGER_CLASS = SecurityManager
