package events

// A Route is where updates are published: a channel that has a stream of its own, or a topic,
// which any number of channels read. Routes can be compared. The zero Route is that of a
// channel without a name.
type Route struct {
	name  string
	topic bool
}

// ToChannel returns the route of a channel that has a stream of its own.
func ToChannel(channel string) Route { return Route{name: channel} }

// ToTopic returns the route of a topic.
func ToTopic(topic string) Route { return Route{name: topic, topic: true} }

// Channel returns the name of the channel; "" if the route is a topic's.
func (r Route) Channel() string {
	if r.topic {
		return ""
	}
	return r.name
}

// Topic returns the name of the topic; "" if the route is a channel's.
func (r Route) Topic() string {
	if r.topic {
		return r.name
	}
	return ""
}

// Name returns the name of the channel or of the topic.
func (r Route) Name() string { return r.name }

// String names the route for people.
func (r Route) String() string {
	if r.topic {
		return "topic " + r.name
	}
	return "channel " + r.name
}

// ID tells routes apart, in ids and labels: a channel may have the name of a topic. It is the
// channel's name, or topics/ and that of the topic.
func (r Route) ID() string {
	if r.topic {
		return "topics/" + r.name
	}
	return r.name
}
