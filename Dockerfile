# The service and its models: no training code, no Keras, no TensorFlow.
#
#     docker build --tag pneumoscope:cpu .
#     docker build --tag pneumoscope:gpu --build-arg HARDWARE=gpu .

FROM python:3.12-slim AS build
# cpu or gpu: the extra of pyproject.toml that brings onnxruntime.
ARG HARDWARE=cpu
WORKDIR /build
# Dependencies first, into a layer that a change of the service's code leaves alone.
COPY pyproject.toml constraints.txt ./
RUN mkdir app && touch app/__init__.py README.md LICENSE \
    && python -m venv --without-pip /opt/pneumoscope \
    && pip --python /opt/pneumoscope/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt ".[${HARDWARE},dicom,tracing]" \
    && rm -r app build *.egg-info  # or the next build would take the empty module for the newer one
COPY README.md LICENSE ./
COPY app app
RUN pip --python /opt/pneumoscope/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --force-reinstall .

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Pneumoscope" \
      org.opencontainers.image.description="Reads a chest radiograph and answers with the probability of pneumonia. For research; a reader decides." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pneumoscope /opt/pneumoscope
COPY models /srv/models
# Nothing is written at run time: modules are compiled already, and uploads stay in memory.
ENV PATH=/opt/pneumoscope/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PNEUMOSCOPE_HOST=0.0.0.0 \
    PNEUMOSCOPE_PORT=8000 \
    PNEUMOSCOPE_MODEL_DIR=/srv/models/pneumonia/1
# The one place where something is kept, and by the bridge to an Orthanc alone: a volume.
RUN mkdir --parents /var/lib/pneumoscope && chown 10001:10001 /var/lib/pneumoscope
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-m", "app.healthcheck"]
CMD ["python", "-m", "app"]
