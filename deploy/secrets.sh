#!/bin/sh
# Makes the secrets of compose.yaml in a folder, once: a password for Redis, a token
# for people (in FOLDER/token too), and one for the servers among themselves. Run it
# as root: the files belong to the users inside of the containers.
set -eu
folder=${1:?usage: secrets.sh FOLDER}
server=65532 # the user of the image of the server
redis=999    # the user redis of the image of Redis
if [ -e "$folder" ]; then
  echo "$folder exists already; nothing was changed" >&2
  exit 1
fi
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
mkdir -p "$folder"
chmod 711 "$folder"
password=$(random)
people=$(random)
servers=$(random)
printf '%s\n' "$people" > "$folder/token"
printf 'admin %s people\nsubmit %s servers\n' "$people" "$servers" > "$folder/tokens"
printf 'MORNINGAI_REDIS=redis://:%s@redis:6379/0\nMORNINGAI_PEER_TOKEN=%s\n' "$password" "$servers" > "$folder/server.env"
printf 'requirepass %s\nappendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\ndir /data\n' "$password" > "$folder/redis.conf"
chown "$server" "$folder/tokens" "$folder/server.env"
chown "$redis" "$folder/redis.conf"
