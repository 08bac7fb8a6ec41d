#!/bin/sh
# Visit waits until the shop listens, and orders at an address.
until curl -s -o /dev/null http://localhost:8080; do sleep 0.1; done
for item in apple pear kumquat; do
	curl -s "$1/orders" -H 'Authorization: Bearer s3cr3t' \
		-d "{\"item\": \"$item\", \"quantity\": 2, \"email\": \"ada@example.com\"}"
	echo
done
