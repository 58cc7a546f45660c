# One image for the server, the worker and the migrations; the command chooses.
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY worker worker
COPY migrations migrations
RUN python -m venv /opt/trainyard
# TORCH is what pip is asked for before the rest, e.g. `--build-arg TORCH="torch --index-url ..."` for a build of
# PyTorch without CUDA, which makes the image several times smaller. As it is, the image runs on GPUs too.
ARG TORCH=""
RUN [ -z "$TORCH" ] || /opt/trainyard/bin/pip install --no-cache-dir $TORCH
RUN /opt/trainyard/bin/pip install --no-cache-dir .

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 trainyard \
    && install -d -o trainyard -g trainyard /var/lib/trainyard
COPY --from=build /opt/trainyard /opt/trainyard
ENV PATH=/opt/trainyard/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRAINYARD_HOME=/var/lib/trainyard
USER trainyard
WORKDIR /var/lib/trainyard
VOLUME /var/lib/trainyard
EXPOSE 8000
ENTRYPOINT ["trainyard"]
CMD ["serve", "--host", "0.0.0.0"]
