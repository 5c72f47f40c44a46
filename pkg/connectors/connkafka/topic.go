package connkafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-utl/extsync/pkg/connectors"
)

const cleanupPolicy = "cleanup.policy"

// A topic is what is known of the one that is written to.
type topic struct {
	partitions int
	policy     string // its cleanup.policy; "" if the user may not see it
}

var errNoCompaction = errors.New("cleanup.policy of the topic does not say compact: the newest version of a key would be lost with time")

// look asks the cluster about the topic, without making it.
func (c *Config) look(ctx context.Context, client *kgo.Client) (topic, error) {
	var out topic
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	one := kmsg.NewMetadataRequestTopic()
	one.Topic = kmsg.StringPtr(c.Topic)
	req.Topics = append(req.Topics, one)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return out, err
	}
	if len(resp.Topics) != 1 {
		return out, fmt.Errorf("%w: the answer has %d topics", errAnswer, len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return out, err
	}
	out.partitions = len(resp.Topics[0].Partitions)
	if out.policy, err = c.policy(ctx, client); err != nil {
		return out, err
	}
	if c.Cleanup == mustCompact && out.policy != "" && !slices.Contains(strings.Split(strings.ReplaceAll(out.policy, " ", ""), ","), "compact") {
		return out, errNoCompaction
	}
	return out, nil
}

// policy returns the topic's cleanup.policy, "" if the user may not see it.
func (c *Config) policy(ctx context.Context, client *kgo.Client) (string, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	one := kmsg.NewDescribeConfigsRequestResource()
	one.ResourceType, one.ResourceName, one.ConfigNames = kmsg.ConfigResourceTypeTopic, c.Topic, []string{cleanupPolicy}
	req.Resources = append(req.Resources, one)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return "", err
	}
	for _, r := range resp.Resources {
		switch err := kerr.ErrorForCode(r.ErrorCode); {
		case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
			return "", nil
		case err != nil:
			return "", err
		}
		for _, entry := range r.Configs {
			if entry.Name == cleanupPolicy && entry.Value != nil {
				return *entry.Value, nil
			}
		}
	}
	return "", nil
}

// line says what a topic is, for people.
func (c *Config) line(t topic) string {
	policy := "what its cleanup.policy is this user may not see"
	if t.policy != "" {
		policy = "cleanup.policy " + connectors.Clip(t.policy, 100)
	}
	return fmt.Sprintf("topic %s has %d partitions, %s", c.Topic, t.partitions, policy)
}
