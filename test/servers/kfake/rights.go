package main

import (
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mayLook returns the rights of a user who may describe topics and use transactions, and
// write to no topic.
func mayLook() []kfake.ACL {
	right := func(resource kmsg.ACLResourceType, operation kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: "*", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true}
	}
	return []kfake.ACL{
		right(kmsg.ACLResourceTypeTopic, kmsg.ACLOperationDescribe),
		right(kmsg.ACLResourceTypeTopic, kmsg.ACLOperationDescribeConfigs),
		right(kmsg.ACLResourceTypeTransactionalId, kmsg.ACLOperationWrite),
		right(kmsg.ACLResourceTypeTransactionalId, kmsg.ACLOperationDescribe),
	}
}
