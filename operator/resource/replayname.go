package resource

import (
	"encoding/binary"
	"hash/fnv"
	"strings"
)

// ReplayName returns an adjective and a noun for a replay: always the same ones for an
// id and attempt, and others for the next attempt.
func ReplayName(id string, attempt int) string {
	adjectives, nouns := strings.Fields(adjectives), strings.Fields(nouns)
	h := fnv.New64a()
	h.Write([]byte(id))
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(attempt))
	h.Write(n[:])
	sum := h.Sum64()
	return adjectives[sum>>32%uint64(len(adjectives))] + "-" + nouns[sum&0xffffffff%uint64(len(nouns))]
}

// Short words, which anybody can read out.
const (
	adjectives = `able agile airy alert amber ample apt azure bold brave breezy brief bright brisk calm candid
		chief civil clean clear clever cosy crisp daring dashing deft dapper eager early easy epic equal
		fair famous fancy fast fine firm fit fleet fond frank free fresh gentle giant glad golden good
		grand great green handy happy hardy hearty honest ideal jolly keen kind large level light lively
		loud loyal lucid lucky lunar major mellow merry mighty mild modest neat nimble noble novel open
		polite proud prime pure quick quiet rapid ready regal rich robust rosy royal safe sage serene sharp
		shiny silver simple sleek smart smooth snappy solar solid sound spry stable steady sunny super swift
		tidy trim true upbeat urban vast vivid warm wise witty young zesty`
	nouns = `acorn alder apple arrow aspen badger bamboo barley basil beacon beaver birch bison brook cactus
		camel canoe canyon cedar cherry cloud clover comet condor copper coral cougar crane creek cricket
		daisy delta desert dingo dolphin eagle ember falcon fern ferret finch fjord fox garnet gecko geyser
		ginger glacier grove gull harbor hare hazel heron hickory hill hornet ibex iris island ivory jade
		jaguar jasper juniper kestrel kiwi koala lagoon lake lark laurel lemon lemur lily linden lion llama
		lotus lynx magpie mango maple marble marlin meadow melon mesa meteor mint moose moss newt nutmeg oak
		oasis olive orbit orchid oriole osprey otter owl panda parrot peach pebble pecan pelican pine planet
		plum pond poplar puffin quail quartz rabbit raven reef ridge river robin salmon sparrow spruce summit`
)
