#!/bin/sh
# Visit waits until prices and the shop listen, and orders at an address.
for service in http://localhost:9090 http://localhost:8080; do
	until curl -s -o /dev/null "$service"; do sleep 0.1; done
done
for item in apple pear kumquat; do
	curl -s "$1/orders" -H 'Authorization: Bearer s3cr3t' \
		-d "{\"item\": \"$item\", \"quantity\": 2, \"email\": \"ada@example.com\"}"
	echo
done
