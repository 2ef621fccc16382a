import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Timer;
import java.util.TimerTask;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

/**
 * pgjdbc in its own idioms: batches (rewritten to multi-row inserts too), generated keys, fetch
 * size, server-prepared statements after some uses, updatable results, CopyManager, savepoints.
 *
 * <p>Prints one line per scenario; see tests/drivers/README.md. Usage: java Scenarios.java URL
 */
public final class Scenarios {
    private static String url;

    private interface Scenario {
        Object run(Connection connection) throws Exception;
    }

    private interface Act {
        Object run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        url = "jdbc:" + arguments[0].replaceFirst("//(\\w+)@", "//") + "?user="
            + arguments[0].replaceFirst(".*//(\\w+)@.*", "$1");
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        scenarios.put("types", Scenarios::types);
        scenarios.put("generated_keys", Scenarios::generatedKeys);
        scenarios.put("batch", Scenarios::batch);
        scenarios.put("rewritten_batch", Scenarios::rewrittenBatch);
        scenarios.put("batch_error", Scenarios::batchError);
        scenarios.put("copy", Scenarios::copy);
        scenarios.put("cursors", Scenarios::cursors);
        scenarios.put("updatable", Scenarios::updatable);
        scenarios.put("prepared", Scenarios::prepared);
        scenarios.put("modes", Scenarios::modes);
        scenarios.put("invalidation", Scenarios::invalidation);
        scenarios.put("cancel", Scenarios::cancel);
        scenarios.put("notify", Scenarios::notifications);
        scenarios.put("savepoints", Scenarios::savepoints);
        scenarios.put("errors", Scenarios::errors);
        scenarios.put("large", Scenarios::large);
        scenarios.put("calls", Scenarios::calls);
        scenarios.put("settings", Scenarios::settings);
        scenarios.put("threads", Scenarios::threads);
        for (Map.Entry<String, Scenario> scenario : scenarios.entrySet()) {
            String result;
            try (Connection connection = connect()) {
                result = String.valueOf(scenario.getValue().run(connection));
            } catch (Exception error) {
                // The comparison shows it.
                result = "failed: " + error + Arrays.toString(error.getStackTrace());
            }
            System.out.println(scenario.getKey() + " " + result.replace('\n', ' '));
        }
        System.exit(0);
    }

    private static Connection connect(String... settings) throws SQLException {
        Properties properties = new Properties();
        for (int index = 0; index < settings.length; index += 2) {
            properties.setProperty(settings[index], settings[index + 1]);
        }
        return DriverManager.getConnection(url, properties);
    }

    private static PreparedStatement bind(PreparedStatement statement, Object... values) throws SQLException {
        for (int index = 0; index < values.length; index++) {
            statement.setObject(index + 1, values[index]);
        }
        return statement;
    }

    private static int update(Connection connection, String text, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            return bind(statement, values).executeUpdate();
        }
    }

    private static List<List<String>> rows(Connection connection, String text, Object... values)
            throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            return all(bind(statement, values).executeQuery());
        }
    }

    private static List<List<String>> all(ResultSet result) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        while (result.next()) {
            List<String> row = new ArrayList<>();
            for (int column = 1; column <= result.getMetaData().getColumnCount(); column++) {
                row.add(result.getString(column));
            }
            rows.add(row);
        }
        return rows;
    }

    /** The SQLSTATE, constraint and position of what is thrown. */
    private static String failure(Act act) throws Exception {
        try {
            act.run();
            return "no error";
        } catch (PSQLException error) {
            if (error.getServerErrorMessage() == null) {
                return error.getSQLState();
            }
            return error.getSQLState() + " " + error.getServerErrorMessage().getConstraint() + " "
                + error.getServerErrorMessage().getPosition();
        }
    }

    private static PGobject object(String type, String value) throws SQLException {
        PGobject object = new PGobject();
        object.setType(type);
        object.setValue(value);
        return object;
    }

    private static Object types(Connection connection) throws Exception {
        Object[] values = {
            1, true, (short) -7, 1L << 62, 0.1, new BigDecimal("12345678901.25"), "zażółć 'quoted'", "pad",
            new byte[] {0, 1, -1, 92}, Date.valueOf("2024-02-29"),
            OffsetDateTime.of(2024, 2, 29, 12, 30, 1, 123456000, ZoneOffset.UTC),
            LocalDateTime.of(1999, 12, 31, 23, 59, 59), new PGInterval(0, 0, 3, 0, 0, 7), new UUID(0, 42),
            object("json", "{\"a\": [1, null, \"π\"]}"), object("jsonb", "{\"b\": 1.5}"),
            connection.createArrayOf("int4", new Integer[] {1, null, 3}),
            connection.createArrayOf("text", new String[] {"a,b", "\"q\"", null}),
            object("inet", "10.0.0.1/24"), object("int4range", "[1,10)"), object("mood", "happy"),
            object("spot", "(1,2.50,here)"),
        };
        String text = "INSERT INTO thing VALUES (" + "?, ".repeat(values.length - 1) + "?)";
        List<Object> seen = new ArrayList<>();
        // From the fifth use on the statement is prepared at the server and binary is used.
        try (PreparedStatement insert = connection.prepareStatement(text)) {
            for (int id = 1; id < 9; id++) {
                values[0] = id;
                seen.add(bind(insert, values).executeUpdate());
            }
        }
        try (PreparedStatement select = connection.prepareStatement("SELECT * FROM thing WHERE id = ?")) {
            for (int id = 1; id < 9; id++) {
                seen.add(all(bind(select, id).executeQuery()));
            }
        }
        seen.add(rows(connection, "UPDATE thing SET words = words || ?, price = price * 2 WHERE id = ? RETURNING words, price",
            connection.createArrayOf("text", new String[] {"new"}), 2));
        try (PreparedStatement nulls = connection.prepareStatement("UPDATE thing SET raw = ?, day = ? WHERE id = ?")) {
            nulls.setNull(1, Types.BINARY);
            nulls.setNull(2, Types.DATE);
            nulls.setInt(3, 3);
            seen.add(nulls.executeUpdate());
        }
        seen.add(update(connection, "DELETE FROM thing WHERE id > ?", 3));
        return seen;
    }

    private static Object generatedKeys(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        String text = "INSERT INTO account (owner, balance) VALUES (?, ?)";
        try (PreparedStatement one = connection.prepareStatement(text, Statement.RETURN_GENERATED_KEYS)) {
            seen.add(bind(one, "ada", 10).executeUpdate());
            seen.add(all(one.getGeneratedKeys()).get(0).subList(0, 3));
        }
        try (PreparedStatement named = connection.prepareStatement(text, new String[] {"id", "owner"})) {
            for (String owner : List.of("bob", "cy", "dee")) {
                bind(named, owner, 1).addBatch();
            }
            seen.add(Arrays.toString(named.executeBatch()));
            seen.add(all(named.getGeneratedKeys()));
        }
        try (Statement plain = connection.createStatement()) {
            plain.executeUpdate("UPDATE account SET balance = balance + 1 WHERE id = 1", new String[] {"balance"});
            seen.add(all(plain.getGeneratedKeys()));
        }
        return seen;
    }

    private static Object batch(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        int sum = 0;
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO entry VALUES (1, ?, ?)")) {
            for (int number = 0; number < 300; number++) {
                bind(insert, number, number).addBatch();
            }
            sum += Arrays.stream(insert.executeBatch()).sum();
        }
        try (Statement several = connection.createStatement()) {
            several.addBatch("UPDATE entry SET note = 'one' WHERE account = 1 AND number = 1");
            several.addBatch("DELETE FROM entry WHERE account = 1 AND number = 2");
            several.addBatch("INSERT INTO entry VALUES (1, 1000, 1)");
            sum += Arrays.stream(several.executeBatch()).sum();
        }
        connection.commit();
        return sum;
    }

    private static Object rewrittenBatch(Connection unused) throws Exception {
        try (Connection connection = connect("reWriteBatchedInserts", "true")) {
            String text = "INSERT INTO line (id, word, price) VALUES (?, ?, ?)";
            List<Object> seen = new ArrayList<>();
            try (PreparedStatement insert = connection.prepareStatement(text)) {
                for (int round = 0; round < 8; round++) {
                    for (int id = 0; id < 21; id++) {
                        bind(insert, round * 21 + id, "rewritten " + id, id).addBatch();
                    }
                    seen.add(insert.executeBatch().length);
                }
            }
            seen.add(rows(connection, "SELECT count(*), sum(price) FROM line"));
            return seen;
        }
    }

    private static Object batchError(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        for (boolean autoCommit : new boolean[] {true, false}) {
            connection.setAutoCommit(autoCommit);
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO line VALUES (?, 'batch', 1)")) {
                for (int id : new int[] {900, 901, 900, 902}) {
                    bind(insert, id).addBatch();
                }
                insert.executeBatch();
            } catch (BatchUpdateException error) {
                seen.add(error.getSQLState() + Arrays.toString(error.getUpdateCounts()));
            }
            if (!autoCommit) {
                connection.rollback();
            }
        }
        connection.setAutoCommit(true);
        seen.add(rows(connection, "SELECT id FROM line WHERE id BETWEEN 899 AND 909"));
        return seen;
    }

    private static Object copy(Connection connection) throws Exception {
        var copies = connection.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int id = 1000; id < 1300; id++) {
            lines.append(id).append(id % 7 == 0 ? ",,\n" : ",\"a, b\",1\n");
        }
        List<Object> seen = new ArrayList<>();
        seen.add(copies.copyIn("COPY line FROM STDIN (FORMAT csv)", new StringReader(lines.toString())));
        seen.add(failure(() -> copies.copyIn("COPY line FROM STDIN (FORMAT csv)", new StringReader("1000,a,1\n"))));
        var given = copies.copyIn("COPY line FROM STDIN (FORMAT csv)");
        given.writeToCopy("1400,a,1\n".getBytes(), 0, 9);
        given.cancelCopy();
        StringWriter text = new StringWriter();
        seen.add(copies.copyOut("COPY (SELECT * FROM line WHERE id BETWEEN 1000 AND 1010 ORDER BY id) TO STDOUT", text));
        seen.add(text.toString());
        ByteArrayOutputStream binary = new ByteArrayOutputStream();
        seen.add(copies.copyOut("COPY line TO STDOUT (FORMAT binary)", binary));
        seen.add(binary.size());
        return seen;
    }

    private static Object cursors(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        List<Object> seen = new ArrayList<>();
        try (PreparedStatement select = connection.prepareStatement("SELECT id FROM line WHERE id >= ? ORDER BY id")) {
            select.setFetchSize(7);
            long sum = 0;
            ResultSet result = bind(select, 1000).executeQuery();
            while (result.next()) {
                sum += result.getInt(1);
                if (result.getInt(1) % 100 == 0) {
                    // A statement between two fetches of the portal.
                    update(connection, "UPDATE line SET word = 'meanwhile' WHERE id = ?", result.getInt(1));
                }
            }
            seen.add(sum);
        }
        try (Statement limited = connection.createStatement()) {
            limited.setMaxRows(3);
            seen.add(all(limited.executeQuery("SELECT id FROM line ORDER BY id")));
        }
        try (PreparedStatement writing = connection.prepareStatement(
                "UPDATE line SET word = 'fetched' WHERE id IN (1000, 1001, 1002, 1003, 1004) RETURNING id")) {
            writing.setFetchSize(2);
            seen.add(all(writing.executeQuery()));
        }
        try (PreparedStatement one = connection.prepareStatement("UPDATE line SET price = 5 WHERE id = ? RETURNING id")) {
            one.setMaxRows(1);
            seen.add(all(bind(one, 1005).executeQuery()));
        }
        connection.commit();
        return seen;
    }

    private static Object updatable(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement(
                ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
            ResultSet result = statement.executeQuery("SELECT id, word, price FROM line WHERE id < 5 ORDER BY id");
            result.next();
            result.updateString("word", "updated in place");
            result.updateRow();
            result.moveToInsertRow();
            result.updateInt("id", 950);
            result.updateString("word", "inserted in place");
            result.updateBigDecimal("price", BigDecimal.TEN);
            result.insertRow();
            result.last();
            result.deleteRow();
        }
        return rows(connection, "SELECT * FROM line WHERE id < 5 OR id = 950 ORDER BY id");
    }

    private static Object prepared(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        String text = "UPDATE line SET price = price + ? WHERE id = ? RETURNING price";
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            for (int n = 0; n < 12; n++) {
                seen.add(all(bind(statement, n, 1).executeQuery()));
                if (n == 7 || n == 9) {
                    try (Statement other = connection.createStatement()) {
                        other.execute(n == 7 ? "DEALLOCATE ALL" : "DISCARD ALL");
                    }
                }
            }
        }
        try (Statement plain = connection.createStatement()) {
            plain.execute("PREPARE mine (int, text) AS INSERT INTO line VALUES ($1, $2) RETURNING word");
            seen.add(all(plain.executeQuery("EXECUTE mine (960, 'by name')")));
        }
        seen.add(connection.isValid(5));
        return seen;
    }

    private static Object modes(Connection unused) throws Exception {
        List<Object> seen = new ArrayList<>();
        int id = 970;
        for (String mode : List.of("simple", "extended", "extendedForPrepared", "extendedCacheEverything")) {
            for (String binary : List.of("true", "false")) {
                try (Connection connection = connect("preferQueryMode", mode, "binaryTransfer", binary,
                        "prepareThreshold", "1")) {
                    id++;
                    seen.add(update(connection, "INSERT INTO line VALUES (?, ?, ?)", id, "it's " + mode, 1));
                    for (int n = 0; n < 3; n++) {
                        seen.add(rows(connection, "UPDATE line SET price = price + 1 WHERE id = ? RETURNING price", id));
                    }
                    try (Statement plain = connection.createStatement()) {
                        plain.execute("UPDATE line SET word = 'a;b' WHERE id = " + id + "; SELECT 1; DELETE FROM line WHERE id = -1");
                        seen.add(plain.getUpdateCount());
                        seen.add(plain.getMoreResults());
                    }
                }
            }
        }
        return seen;
    }

    private static Object invalidation(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        try (Connection other = connect("prepareThreshold", "1");
                PreparedStatement create = connection.prepareStatement("CREATE TABLE changing (id int PRIMARY KEY, a int)")) {
            create.execute();
            try (PreparedStatement read = other.prepareStatement("SELECT * FROM changing WHERE id = ?");
                    PreparedStatement write = other.prepareStatement("INSERT INTO changing VALUES (?, 1) RETURNING *")) {
                seen.add(all(bind(write, 1).executeQuery()));
                seen.add(all(bind(read, 1).executeQuery()));
                update(connection, "ALTER TABLE changing ADD COLUMN b int DEFAULT 5");
                seen.add(failure(() -> all(bind(read, 1).executeQuery())));
                seen.add(failure(() -> all(bind(write, 2).executeQuery())));
                // In a transaction the driver cannot prepare again by itself.
                update(connection, "ALTER TABLE changing ADD COLUMN c int DEFAULT 6");
                other.setAutoCommit(false);
                rows(other, "SELECT 1");
                seen.add(failure(() -> all(bind(write, 3).executeQuery())));
            }
            other.rollback();
            other.setAutoCommit(true);
            update(connection, "DROP TABLE changing");
            try (PreparedStatement kept = other.prepareStatement("UPDATE line SET word = ? WHERE id = 2 RETURNING *")) {
                for (int n = 0; n < 3; n++) {
                    seen.add(all(bind(kept, "plan " + n).executeQuery()));
                    update(connection, "CREATE INDEX line_word_" + n + " ON line (word)");
                }
            }
            update(connection, "DROP INDEX line_word_0, line_word_1, line_word_2");
        }
        return seen;
    }

    private static Object cancel(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        try (Statement statement = connection.createStatement()) {
            new Timer(true).schedule(new TimerTask() {
                @Override
                public void run() {
                    try {
                        statement.cancel();
                    } catch (SQLException error) {
                        throw new IllegalStateException(error);
                    }
                }
            }, 200);
            seen.add(failure(() -> statement.execute("SELECT pg_sleep(60)")));
            statement.setQueryTimeout(1);
            seen.add(failure(() -> statement.execute("SELECT pg_sleep(60)")));
        }
        seen.add(rows(connection, "SELECT 1"));
        return seen;
    }

    private static Object notifications(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        try (Statement statement = connection.createStatement(); Connection other = connect()) {
            statement.execute("LISTEN door");
            update(other, "NOTIFY door, 'knock'");
            rows(other, "SELECT pg_notify('door', ?)", "zażółć");
            PGConnection listener = connection.unwrap(PGConnection.class);
            for (int tries = 0; seen.size() < 2 && tries < 20; tries++) {
                PGNotification[] heard = listener.getNotifications(1000);
                for (PGNotification notification : heard == null ? new PGNotification[0] : heard) {
                    seen.add(notification.getName() + " " + notification.getParameter());
                }
            }
            seen.add(all(statement.executeQuery("SELECT warn('hello')")));
            for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
                seen.add(warning.getMessage());
            }
        }
        return seen;
    }

    private static Object savepoints(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        connection.setAutoCommit(false);
        update(connection, "INSERT INTO line VALUES (400, 'outer', 1)");
        Savepoint doubt = connection.setSavepoint("doubt");
        update(connection, "UPDATE line SET word = 'never' WHERE id = ?", 400);
        seen.add(failure(() -> update(connection, "INSERT INTO line VALUES (400, 'twice', 1)")));
        connection.rollback(doubt);
        Savepoint unnamed = connection.setSavepoint();
        update(connection, "INSERT INTO line VALUES (402, 'released', 1)");
        connection.releaseSavepoint(unnamed);
        connection.commit();
        update(connection, "INSERT INTO line VALUES (403, 'rolled back', 1)");
        connection.rollback();
        connection.setAutoCommit(true);
        // The driver's own savepoint around every statement.
        try (Connection careful = connect("autosave", "always")) {
            careful.setAutoCommit(false);
            update(careful, "INSERT INTO line VALUES (404, 'kept', 1)");
            seen.add(failure(() -> update(careful, "INSERT INTO line VALUES (404, 'twice', 1)")));
            update(careful, "UPDATE line SET price = 2 WHERE id = 404");
            careful.commit();
        }
        seen.add(rows(connection, "SELECT * FROM line WHERE id BETWEEN 400 AND 410 ORDER BY id"));
        return seen;
    }

    private static Object errors(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        seen.add(failure(() -> update(connection, "INSERT INTO account (owner) VALUES ('ada')")));
        seen.add(failure(() -> update(connection, "UPDATE account SET balance = ? WHERE owner = 'ada'", -1)));
        seen.add(failure(() -> update(connection, "INSERT INTO entry VALUES (?, 1, 1)", 999)));
        seen.add(failure(() -> update(connection, "INSERT INTO account (owner) VALUES (NULL)")));
        seen.add(failure(() -> rows(connection, "INSERT INTO line VALUES (?, 'x', 1) RETURNING nothing", 500)));
        seen.add(failure(() -> update(connection, "UPDATE line SET word = 1 / 0 WHERE id = 1 RETURNIN id")));
        seen.add(failure(() -> rows(connection, "SELECT * FROM missing")));
        seen.add(failure(() -> update(connection, "INSERT INTO line VALUES (?, 'x', 1)", "not a number")));
        seen.add(failure(() -> rows(connection, "UPDATE line SET word = 'x' WHERE id = 1")));
        seen.add(rows(connection, "SELECT count(*) FROM line WHERE id BETWEEN 500 AND 510"));
        return seen;
    }

    private static Object large(Connection connection) throws Exception {
        String body = "žluť".repeat(300_000);
        byte[] raw = new byte[2_000_000];
        Arrays.fill(raw, (byte) 7);
        update(connection, "INSERT INTO document VALUES (1, ?, ?)", body, raw);
        update(connection, "INSERT INTO document VALUES (2, ?, ?)", body.substring(0, 100_000), new byte[100_000]);
        boolean same;
        try (Statement statement = connection.createStatement()) {
            ResultSet row = statement.executeQuery("SELECT body, raw FROM document WHERE id = 1");
            row.next();
            same = row.getString(1).equals(body) && Arrays.equals(row.getBytes(2), raw);
        }
        int size = 0;
        for (List<String> row : rows(connection, "SELECT g, repeat('x', g % 50) FROM generate_series(1, 50000) g")) {
            size += row.get(1).length();
        }
        return List.of(same, size, rows(connection,
            "UPDATE document SET body = body || '!' WHERE id = ? RETURNING length(body), md5(raw)", 2));
    }

    private static Object calls(Connection connection) throws Exception {
        List<Object> seen = new ArrayList<>();
        try (CallableStatement function = connection.prepareCall("{? = call add_up(?, ?)}")) {
            function.registerOutParameter(1, Types.INTEGER);
            function.setInt(2, 2);
            function.setInt(3, 3);
            function.execute();
            seen.add(function.getInt(1));
        }
        try (CallableStatement procedure = connection.prepareCall("CALL deposit(?, ?)")) {
            seen.add(bind(procedure, "bob", new BigDecimal(5)) == procedure && procedure.execute());
        }
        String upsert = "INSERT INTO line VALUES (?, 'c', 2) ON CONFLICT (id) DO UPDATE SET word = excluded.word RETURNING word, xmax = 0";
        seen.add(rows(connection, upsert, 600));
        seen.add(rows(connection, upsert, 600));
        seen.add(update(connection, "INSERT INTO line VALUES (600) ON CONFLICT DO NOTHING"));
        Array ids = connection.createArrayOf("int4", new Integer[] {600, 601});
        seen.add(rows(connection, "SELECT word FROM line WHERE id = ANY (?)", ids));
        try (ResultSet columns = connection.getMetaData().getColumns(null, "public", "line", null)) {
            while (columns.next()) {
                seen.add(columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
            }
        }
        return seen;
    }

    private static Object settings(Connection unused) throws Exception {
        try (Connection connection = connect("ApplicationName", "scenarios", "options", "-c statement_timeout=50s")) {
            update(connection, "SET TIME ZONE 'Asia/Tokyo'");
            connection.setSchema("public");
            update(connection, "CREATE TEMP TABLE line (id int PRIMARY KEY, word text)");
            update(connection, "INSERT INTO line VALUES (?, 'temporary')", 1);
            update(connection, "INSERT INTO public.line VALUES (?, 'permanent', 1)", 700);
            connection.setReadOnly(true);
            String refused = failure(() -> update(connection, "DELETE FROM public.line WHERE id = 700"));
            return List.of(connection.unwrap(PGConnection.class).getParameterStatus("TimeZone"), refused,
                rows(connection, "SELECT current_setting('statement_timeout'), current_setting('application_name'), word FROM line"));
        }
    }

    private static Object threads(Connection unused) throws Exception {
        var pool = Executors.newFixedThreadPool(4);
        List<CompletableFuture<String>> work = new ArrayList<>();
        for (int n = 0; n < 40; n++) {
            int id = 2000 + n;
            work.add(CompletableFuture.supplyAsync(() -> {
                try (Connection connection = connect()) {
                    connection.setAutoCommit(false);
                    update(connection, "INSERT INTO line VALUES (?, 'thread', 1)", id);
                    String price = rows(connection, "UPDATE line SET price = ? WHERE id = ? RETURNING price", id, id).toString();
                    connection.commit();
                    return price;
                } catch (SQLException error) {
                    return error.toString();
                }
            }, pool));
        }
        List<Object> seen = new ArrayList<>();
        for (CompletableFuture<String> one : work) {
            seen.add(one.join());
        }
        return seen;
    }
}
