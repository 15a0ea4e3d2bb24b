"""Has the real email-oauth2-proxy write its configuration, with tokens that it has encrypted.

    emailproxy.py FOLDER FILE < accounts.json

FOLDER is where the program is installed; FILE is a configuration as a person writes it. Of each account in the JSON list
(user, password, refresh_token, seals_secret) its tokens are kept as after a sign-in, by the program's own code.
"""

import json
import sys
import time

folder, path = sys.argv[1:]
sys.path.insert(0, folder)
import emailproxy  # noqa: E402

emailproxy.CONFIG_FILE_PATH = emailproxy.CACHE_STORE = path
config = emailproxy.AppConfig.get()
for account in json.load(sys.stdin):
    user = account['user']
    cryptographer = emailproxy.Cryptographer(config, user, account['password'])
    config.set(user, 'token_salt', cryptographer.salt)
    config.set(user, 'token_iterations', str(cryptographer.iterations))
    config.set(user, 'access_token', cryptographer.encrypt('an-access-token-that-is-over'))
    config.set(user, 'access_token_expiry', str(int(time.time()) - 60))
    config.set(user, 'refresh_token', cryptographer.encrypt(account['refresh_token']))
    if account['seals_secret']:
        config.set(user, 'client_secret_encrypted', cryptographer.encrypt(config.get(user, 'client_secret')))
        config.remove_option(user, 'client_secret')
emailproxy.AppConfig.save()
