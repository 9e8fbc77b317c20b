"""A SavedModel that sleeps in place of computing, as the CPU does while a GPU computes, for machines without a GPU."""

from pathlib import Path

from raybench.models.saved_models import ModelConfig, format_models_conf

NAME = "sleeping"
_SLEEP_US = 25_000


def export(folder: Path) -> None:
    """Write `sleeping` and its models.conf: `predict_images` sleeps, then gives scores [n, 3] from every image."""
    import tensorflow as tf
    from tensorflow.python.data.experimental.ops import testing  # the one op of TensorFlow that sleeps

    class SleepingModel(tf.Module):
        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
        def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            numbers = tf.data.Dataset.range(1).apply(testing.sleep(_SLEEP_US))
            slept = numbers.reduce(tf.constant(0, tf.int64), tf.add)
            means = tf.reduce_mean(tf.cast(images[:, ::56, ::56], tf.float32), axis=[1, 2])
            return {"scores": tf.nn.softmax(means / 64 + tf.cast(slept, tf.float32))}

    module = SleepingModel()
    tf.saved_model.save(module, str(folder / NAME / "1"), signatures={"predict_images": module.predict_images})
    (folder / "models.conf").write_text(format_models_conf((ModelConfig(NAME, folder / NAME),)))
