"""Keras 3: handwritten digits, with energy and CO2e in the History, the progress bar and TensorBoard.

Install and run (``KERAS_BACKEND=jax`` and ``tensorflow`` work too)::

    pip install "wattloop[keras,tensorboard]" torch scikit-learn
    python keras_digits.py
"""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras reads it once, at import

import keras
from sklearn.datasets import load_digits

from wattloop.keras import EmissionsCallback


def build_model() -> keras.Model:
    """Build a small convolutional network for 8x8 grey-scale digits."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(128, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(log_dir: str | Path = "runs/keras", epochs: int = 20) -> None:
    """Train on the digits and write TensorBoard event files to `log_dir`."""
    keras.utils.set_random_seed(0)
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8, 1).astype("float32")

    emissions = EmissionsCallback(region="FR", log_dir=log_dir)  # wattloop: this line, and `callbacks` below

    model = build_model()
    # List it before CSVLogger, EarlyStopping and the like: they then see its numbers too.
    history = model.fit(
        images, digits, batch_size=32, epochs=epochs, validation_split=0.2, verbose=2, callbacks=[emissions]
    )
    print("Energy of each epoch in kWh:", history.history["energy/epoch_kwh"])
    print(emissions.run.summary())


if __name__ == "__main__":
    main()
