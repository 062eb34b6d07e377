/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of rpmsg devices, handed on from the interrupt to a work item.
 *
 * rpmsg's callbacks take mutexes, register devices and sleep: remoteproc calls them from a process. virtio_uml calls them
 * from its interrupt, where the announcement of a channel that has a driver is "scheduling while atomic" and soon a
 * panic. Every other kind of device is called as before.
 */
#ifndef SIDECORE_RPMSG_CALL_H
#define SIDECORE_RPMSG_CALL_H

#include <linux/virtio.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

/* One for each queue: work items of one queue never run side by side. */
struct rpmsg_call {
	struct work_struct work;
	struct virtqueue *vq;
};

static void rpmsg_call_work(struct work_struct *work)
{
	struct rpmsg_call *call = container_of(work, struct rpmsg_call, work);

	vring_interrupt(0, call->vq);
}

static void rpmsg_call_init(struct rpmsg_call *call, struct virtqueue *vq)
{
	INIT_WORK(&call->work, rpmsg_call_work);
	call->vq = vq;
}

/* In place of vring_interrupt(). */
static irqreturn_t rpmsg_call(struct rpmsg_call *call)
{
	if (call->vq->vdev->id.device != VIRTIO_ID_RPMSG)
		return vring_interrupt(0, call->vq);
	schedule_work(&call->work);
	return IRQ_HANDLED;
}

/* Before the queue goes. */
static void rpmsg_call_end(struct rpmsg_call *call)
{
	cancel_work_sync(&call->work);
}

#endif
